"""Which expressions of a template are strings that the template itself puts together, wherever they were put together.

    built(e)   =  joined, added, repeated, cut, filtered or rendered text, or a name that was given such text
    stringy(e) =  built(e), or a constant text, or a name that was given one

The flow of names is followed without order and without scope, to a fixed point, so that no detour hides a string: what
is set, looped over, handed to a macro, kept in a namespace or caught from a block.  An item whose name is a built
string is one that a reader of the template was not meant to see; honest templates take items by constants, by numbers
and by names that they loop over.

Source: ours.  Differs from a list of forbidden words: a word in pieces is never compared with anything.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jinja2 import nodes

#: Filters whose result is no text, whatever they are given.
_NUMBERS: Final = ("length", "count", "int", "float", "abs", "round", "wordcount")
#: Filters that hand on what they are given.
_PASSING: Final = (
    "default",
    "d",
    "list",
    "items",
    "first",
    "last",
    "sort",
    "unique",
    "reverse",
    "random",
    "batch",
    "slice",
)
#: Methods of texts that give texts.
_METHODS: Final = (
    "join format format_map replace lower upper title capitalize casefold swapcase strip lstrip rstrip split rsplit "
    "partition rpartition splitlines removeprefix removesuffix center ljust rjust zfill translate expandtabs encode"
).split()
#: Calls that give numbers.
_COUNTING: Final = ("range", "cycler")
_MAX_ROUNDS: Final = 16


class Strings:
    """What is known of the names of one template.

    Args:
      tree: of the whole template.
    """

    def __init__(self, tree: "nodes.Template") -> None:
        """Follow every name to a fixed point."""
        self._stringy: set[str] = set()
        self._built: set[str] = set()
        gifts = list(_gifts(tree))
        for _ in range(_MAX_ROUNDS):
            before = len(self._stringy) + len(self._built)
            for name, value in gifts:
                if value is None or self.built(value):
                    self._built.add(name)
                if value is None or self.stringy(value):
                    self._stringy.add(name)
            if len(self._stringy) + len(self._built) == before:
                return

    def built(self, node: "nodes.Node") -> bool:
        """Say whether an expression is, or may be, text that the template put together."""
        from jinja2 import nodes

        match node:
            case nodes.Name():
                return node.name in self._built
            case nodes.Concat():
                return True
            case nodes.Add() | nodes.Mod() | nodes.Mul():
                return any(self.stringy(side) for side in (node.left, node.right))
            case nodes.Filter():
                return node.name not in _NUMBERS and (
                    node.name not in _PASSING or node.node is None or self.built(node.node) or self._turned(node)
                )
            case nodes.Call():
                return self._calls_for_text(node.node) or any(map(self.stringy, node.args))
            case nodes.Getitem():
                cut = isinstance(node.arg, nodes.Slice) and self.stringy(node.node)
                return cut or self.built(node.node)
            case nodes.Getattr():
                return node.attr in self._built and isinstance(node.node, nodes.Name)
            case (
                nodes.CondExpr() | nodes.And() | nodes.Or() | nodes.List() | nodes.Tuple() | nodes.Dict() | nodes.Pair()
            ):
                return any(self.built(part) for part in node.iter_child_nodes())
        return False

    def stringy(self, node: "nodes.Node") -> bool:
        """Say whether an expression is, or may be, a text that stands in the template, whole or in pieces."""
        from jinja2 import nodes

        match node:
            case nodes.Const():
                return isinstance(node.value, str)
            case nodes.Name():
                return node.name in self._stringy
            case nodes.Getattr():
                return node.attr in self._stringy and isinstance(node.node, nodes.Name)
            case nodes.Getitem():
                return self.stringy(node.node)
            case nodes.Call():
                return self.built(node) or any(map(self.stringy, node.args))
            case (
                nodes.CondExpr() | nodes.And() | nodes.Or() | nodes.List() | nodes.Tuple() | nodes.Dict() | nodes.Pair()
            ):
                return any(self.stringy(part) for part in node.iter_child_nodes())
            case nodes.Filter() if node.name in _PASSING and node.node is not None:
                return self.stringy(node.node) or self.built(node)
        return self.built(node)

    def _turned(self, node: "nodes.Filter") -> bool:
        return node.name == "reverse" and node.node is not None and self.stringy(node.node)

    def _calls_for_text(self, called: "nodes.Node") -> bool:
        """Say whether a call gives text: a method of texts, or a macro, whose text is what it renders."""
        from jinja2 import nodes

        if isinstance(called, nodes.Getattr):
            return called.attr in _METHODS or called.attr in self._built or self.stringy(called.node)
        return isinstance(called, nodes.Name) and called.name not in _COUNTING


def _gifts(tree: "nodes.Template") -> "Iterator[tuple[str, nodes.Node | None]]":
    """Yield every (name, what it is given); None for text that was rendered."""
    from jinja2 import nodes

    macros = {macro.name: [arg.name for arg in macro.args] for macro in tree.find_all(nodes.Macro)}
    for node in tree.find_all((nodes.Assign, nodes.AssignBlock, nodes.For, nodes.With, nodes.Macro, nodes.Call)):
        match node:
            case nodes.Assign():
                yield from ((name, node.node) for name in names_of(node.target))
            case nodes.AssignBlock():
                yield from ((name, None) for name in names_of(node.target))
            case nodes.For():
                yield from ((name, node.iter) for name in names_of(node.target))
            case nodes.With():
                for target, value in zip(node.targets, node.values, strict=True):
                    yield from ((name, value) for name in names_of(target))
            case nodes.Macro():
                yield from zip([arg.name for arg in node.args[::-1]], node.defaults[::-1], strict=False)
            case nodes.Call():
                yield from _handed(node, macros)


def _handed(call: "nodes.Call", macros: dict[str, list[str]]) -> "Iterator[tuple[str, nodes.Node | None]]":
    """Yield what a call gives to the arguments of a macro, and to the names of a namespace or a table."""
    from jinja2 import nodes

    called = call.node.name if isinstance(call.node, nodes.Name) else ""
    yield from ((one.key, one.value) for one in call.kwargs)
    yield from zip(macros.get(called, ()), call.args, strict=False)


def names_of(node: "nodes.Node") -> list[str]:
    """Return the names that a target binds; of a namespace, the name of its attribute."""
    from jinja2 import nodes

    if isinstance(node, nodes.NSRef):
        return [node.attr]
    if isinstance(node, nodes.Name):
        return [node.name]
    return [name for part in node.iter_child_nodes() for name in names_of(part)]
