"""What a chat template reaches for, read from its syntax tree: a template is a program, and some loaders run it freely.

It is parsed and never rendered.  Anything by which a template can leave the values that it was given is reported, and
so is a loop that would not end in reasonable time; how the text is split or spelled does not matter to the tree.

    x.__class__ | x['__class__'] | x|attr(..) | x|map(attribute='_..') | a string with two underscores   -> internals
    range(n), n > 100,000 or not a constant                                                              -> loop

Source: CVE-2024-34359, CVE-2026-5760 (templates rendered without a sandbox).  Differs: a string is looked at as a whole
and joined to its neighbours, since ``'__cl' ~ 'ass__'`` is the same name.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.scan.base import Severity

if TYPE_CHECKING:
    from jinja2 import nodes

MAX_TEMPLATE_CHARS: Final = 1 << 18
_LONG_RANGE: Final = 100_000
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
    """

    line: int
    what: str
    severity: Severity


def reaches(template: str) -> tuple[TemplateUse, ...]:
    """Return what a template reaches for, at most one of a kind per line.

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
            return (TemplateUse(line, f"cannot be parsed, and holds {hidden[0]!r}", "critical"),)
        return (TemplateUse(getattr(fault, "lineno", 1) or 1, f"cannot be parsed ({type(fault).__name__})", "medium"),)
    found = [
        *(_of(node) for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Call))),
        *(_joined(node) for node in tree.find_all((nodes.Concat, nodes.Add))),
        *(_name(node) for node in tree.find_all(nodes.Name)),
        *(_text(node) for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))),
    ]
    return tuple(dict.fromkeys(reach for reach in found if reach is not None))


def _internal(word: object) -> bool:
    return isinstance(word, str) and "__" in word


def _of(node: "nodes.Node") -> TemplateUse | None:
    """Judge one access, filter or call."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr) and _internal(node.attr):
        return TemplateUse(node.lineno, f"reaches for the attribute {node.attr!r}", "critical")
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and _internal(node.arg.value):
        return TemplateUse(node.lineno, f"reaches for the item {node.arg.value!r}", "critical")
    if isinstance(node, nodes.Filter) and node.name == "attr":
        return TemplateUse(node.lineno, "takes an attribute by a computed name (|attr)", "critical")
    if isinstance(node, nodes.Filter) and node.name in ("map", "selectattr", "rejectattr", "groupby", "sort"):
        words = [*node.args, *(pair.value for pair in node.kwargs)]
        hidden = next((one.value for one in words if isinstance(one, nodes.Const) and "__" in str(one.value)), None)
        if hidden is not None:
            return TemplateUse(node.lineno, f"reaches for {hidden!r} through |{node.name}", "critical")
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range":
        return _range(node)
    return None


def _range(call: "nodes.Call") -> TemplateUse | None:
    from jinja2 import nodes

    for bound in call.args:
        if isinstance(bound, nodes.Const) and isinstance(bound.value, int) and bound.value > _LONG_RANGE:
            return TemplateUse(call.lineno, f"loops {bound.value} times", "medium")
        if isinstance(bound, nodes.Pow | nodes.Mul):
            return TemplateUse(call.lineno, "loops as often as a product says", "medium")
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
