"""What a chat template reaches for, read from its syntax tree: a template is a program, and some loaders run it freely.

It is parsed and never rendered.  Anything by which a template can leave the values that it was given is reported, and
so is a loop that would not end in reasonable time; how the text is split or spelled does not matter to the tree.

    x.__class__ | x['__class__'] | x.gi_frame | x|attr(..) | any filter by an attribute that is no plain constant
    x[e], e put together by the template | "{0.__class__}".format(x) | e.format(x) | the name of an internal as a text
    a number > 100,000, a power, a width > 100,000 in a format                                        -> loop or length

Source: CVE-2024-34359, CVE-2026-5760 (templates rendered without a sandbox); the list of unsafe attributes of
``jinja2.sandbox``.  Differs: what strings are put together, and where, is followed (``template_strings``) and no word
is guessed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.errors import clean
from mergebarrier.scan.base import Severity
from mergebarrier.scan.files.template_strings import Strings, names_of

if TYPE_CHECKING:
    from jinja2 import nodes

MAX_TEMPLATE_CHARS: Final = 1 << 18
_LONG_RANGE: Final = 100_000
#: Attributes without two underscores that lead to frames, code and bases.
_INTERNALS: Final = re.compile(
    r"(?:gi|cr|ag|tb|f)_(?:frame|code|await|yieldfrom|back|globals|locals|builtins|next|running)"
    r"|func_(?:globals|code|closure|defaults|dict|doc|name)|im_(?:class|func|self)|mro|subclasses"
)
#: A text that is the name of an internal, or a pattern that takes one.
_HIDDEN: Final = re.compile(r"__(?:class|base|bases|mro|subclasses|init|globals|builtins|import|dict|getattribute)_*")
_WIDE: Final = re.compile(r"%[-+ #0]*\d{6,}|\{[^{}]*:[^{}]*\d{6,}")
#: Filters that may take an attribute -> how many of their first arguments may name one, or a filter or test.
_BY_ATTRIBUTE: Final = {
    "map": 2, "select": 1, "reject": 1, "selectattr": 2, "rejectattr": 2, "groupby": 1, "sort": 3, "sum": 1, 
    "unique": 2, "min": 2, "max": 2, "join": 2,
}  # fmt: skip
#: Of transformers: marks what an assistant generated; it changes nothing about what is reached.
_GENERATION: Final = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
_REACH: Final = re.compile(r"__|\|\s*attr\b|\bgetattr\b|\bimport\b|\bglobals\b|\bbuiltins\b")


@dataclass(frozen=True)
class TemplateUse:
    """What a template does that a template need not do.

    Attributes:
      line:     of the template, from 1.
      what:     in words.
      severity: critical where it reaches for internals.
      parsed:   whether it is a template of Jinja at all.
    """

    line: int
    what: str
    severity: Severity
    parsed: bool = True


def reaches(template: str) -> tuple[TemplateUse, ...]:
    """Return what a template reaches for, at most one of a severity per line.

    Args:
      template: its text; a longer one than ``MAX_TEMPLATE_CHARS`` is not parsed, and that is what is returned.
    """
    from jinja2 import Environment, TemplateError, nodes

    if len(template) > MAX_TEMPLATE_CHARS:
        return (TemplateUse(1, f"is {len(template)} characters long and was not looked at", "high"),)
    text = _GENERATION.sub(lambda tag: "\n" * tag[0].count("\n"), template)
    extensions = ["jinja2.ext.loopcontrols", "jinja2.ext.do"]
    try:
        # Autoescaping has no meaning where nothing is rendered.
        tree = Environment(extensions=extensions, autoescape=True).parse(text)
    except (TemplateError, RecursionError) as fault:
        hidden = _REACH.search(template)
        if hidden is not None:
            line = template.count("\n", 0, hidden.start()) + 1
            return (TemplateUse(line, f"cannot be parsed, and holds {hidden[0]!r}", "critical", parsed=False),)
        line = getattr(fault, "lineno", 1) or 1
        words = f"cannot be parsed: {'it is nested too deeply' if isinstance(fault, RecursionError) else clean(fault)}"
        return (TemplateUse(line, words, "medium", parsed=False),)
    strings = Strings(tree)
    found = [
        *(_access(node, strings) for node in tree.find_all((nodes.Getattr, nodes.Getitem))),
        *(_filter(node) for node in tree.find_all(nodes.Filter)),
        *(_call(node, strings) for node in tree.find_all(nodes.Call)),
        *(_joined(node) for node in tree.find_all((nodes.Concat, nodes.Add))),
        *(_name(node) for node in tree.find_all(nodes.Name)),
        *(_constant(node) for node in tree.find_all((nodes.Const, nodes.Pow))),
        *_loops(tree, 1),
        *(_text(node) for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))),
    ]
    first: dict[tuple[int, Severity], TemplateUse] = {}
    for reach in found:
        if reach is not None:
            first.setdefault((reach.line, reach.severity), reach)
    return tuple(first.values())


def _internal(word: object) -> bool:
    return isinstance(word, str) and ("__" in word or _INTERNALS.fullmatch(word) is not None)


def _access(node: "nodes.Expr", strings: Strings) -> TemplateUse | None:
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr):
        found = _internal(node.attr)
        return TemplateUse(node.lineno, f"reaches for the attribute {node.attr!r}", "critical") if found else None
    if not isinstance(node, nodes.Getitem):
        return None
    if isinstance(node.arg, nodes.Const):
        found = _internal(node.arg.value)
        return TemplateUse(node.lineno, f"reaches for the item {node.arg.value!r}", "critical") if found else None
    if not isinstance(node.arg, nodes.Slice) and strings.built(node.arg):
        return TemplateUse(node.lineno, "takes an item by a name that it puts together", "critical")
    return None


def _filter(node: "nodes.Filter") -> TemplateUse | None:
    """Judge a filter that looks at attributes: by which, and whether that stands there."""
    from jinja2 import nodes

    if node.name == "attr":
        return TemplateUse(node.lineno, "takes an attribute by a computed name (|attr)", "critical")
    if node.name not in _BY_ATTRIBUTE or node.dyn_args is not None or node.dyn_kwargs is not None:
        odd = node.dyn_args is not None or node.dyn_kwargs is not None
        return TemplateUse(node.lineno, f"hands unseen arguments to |{node.name}", "critical") if odd else None
    named = [pair.value for pair in node.kwargs if pair.key in ("attribute", "case_sensitive", "reverse")]
    words = [*named, *node.args[: _BY_ATTRIBUTE[node.name]]]
    for word in words:
        if not isinstance(word, nodes.Const):
            return TemplateUse(node.lineno, f"takes an attribute by a computed name (|{node.name})", "critical")
        if _internal(word.value) or (isinstance(word.value, str) and any(map(_internal, word.value.split(".")))):
            return TemplateUse(node.lineno, f"reaches for {word.value!r} through |{node.name}", "critical")
        if word.value == "attr":
            return TemplateUse(node.lineno, f"takes an attribute by |{node.name}('attr')", "critical")
    return None


def _call(node: "nodes.Call", strings: Strings) -> TemplateUse | None:
    """Judge a pattern that is not to be seen; by one, attributes are taken."""
    from jinja2 import nodes

    called = node.node
    if isinstance(called, nodes.Getattr) and called.attr in ("format", "format_map"):
        pattern = called.node
        if not isinstance(pattern, nodes.Const) or strings.built(pattern):
            return TemplateUse(node.lineno, "formats by a pattern that it puts together", "critical")
    return None


def _loops(node: "nodes.Node", times: int) -> Iterator[TemplateUse]:
    """Yield loops that run as often as a product says, or that call themselves; ``times``: of the loops around."""
    from jinja2 import nodes

    if isinstance(node, nodes.Macro) and any(_calls_same(node, call) for call in node.find_all(nodes.Call)):
        yield TemplateUse(node.lineno, f"calls {node.name!r} from within itself, on no part of what it got", "medium")
    if isinstance(node, nodes.For):
        inner = times * _length(node.iter)
        if inner > _LONG_RANGE:
            yield TemplateUse(node.lineno, "loops in loops, more than 100,000 times", "medium")
        if node.recursive:
            yield TemplateUse(node.lineno, "loops recursively", "medium")
        times = inner
    for part in node.iter_child_nodes():
        yield from _loops(part, times)


def _called(call: "nodes.Call") -> str:
    from jinja2 import nodes

    return call.node.name if isinstance(call.node, nodes.Name) else ""


def _calls_same(macro: "nodes.Macro", call: "nodes.Call") -> bool:
    """Say whether a macro calls itself, and not on a part of something, as one that walks through a schema does."""
    from jinja2 import nodes

    looped = [name for loop in macro.find_all(nodes.For) for name in names_of(loop.target)]
    given = [*call.args, *(one.value for one in call.kwargs)]
    named = [one for value in given for one in (value, *value.find_all((nodes.Getattr, nodes.Getitem, nodes.Name)))]
    descends = any(one.name in looped if isinstance(one, nodes.Name) else _takes_part(one) for one in named)
    return _called(call) == macro.name and not descends


def _takes_part(node: "nodes.Node") -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.Getattr | nodes.Getitem)


def _length(bound: "nodes.Node") -> int:
    """Return how often a loop runs at least: what a range of constants says; for a product of anything, too often."""
    from jinja2 import nodes

    if not isinstance(bound, nodes.Call) or _called(bound) != "range":
        return 1
    if any(isinstance(one, nodes.Pow | nodes.Mul) for one in bound.args):
        return _LONG_RANGE + 1
    ends = [one.value for one in bound.args if isinstance(one, nodes.Const) and isinstance(one.value, int)]
    return max([1, *ends])


def _constant(node: "nodes.Node") -> TemplateUse | None:
    """Judge what stands in a template: the name of an internal, a number that no loop should count to."""
    from jinja2 import nodes

    if isinstance(node, nodes.Pow):
        return TemplateUse(node.lineno, "takes a power, for a loop or a length", "medium")
    value = node.value if isinstance(node, nodes.Const) else None
    if isinstance(value, int) and abs(value) > _LONG_RANGE:
        return TemplateUse(node.lineno, f"loops {value} times, or makes a text of that length", "medium")
    if isinstance(value, str):
        hidden = _HIDDEN.search(value) or _HIDDEN.search(value[::-1])
        if hidden is not None:
            return TemplateUse(node.lineno, f"holds the name of an internal, {hidden[0]!r}", "critical")
        if _WIDE.search(value):
            return TemplateUse(node.lineno, "formats to a width of more than 100,000", "medium")
    return None


def _joined(node: "nodes.Node") -> TemplateUse | None:
    """Judge strings that are put together: a name of internals in pieces."""
    from jinja2 import nodes

    pieces = "".join(str(one.value) for one in node.find_all(nodes.Const))
    if re.fullmatch(r"_*\w*__\w*", pieces) and "__" in pieces:
        return TemplateUse(node.lineno, f"puts the name {pieces!r} together", "critical")
    return None


def _name(node: "nodes.Name") -> TemplateUse | None:
    return TemplateUse(node.lineno, f"uses the name {node.name!r}", "critical") if node.name.startswith("__") else None


def _text(node: "nodes.Node") -> TemplateUse:
    return TemplateUse(node.lineno, f"takes in another file ({type(node).__name__.lower()})", "high")
