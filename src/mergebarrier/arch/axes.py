"""The axes of a family's tensors: what may act on each and how long it is, and how a stored tensor is made of them.

    kind     order     any order of the entries (neurons behind GELU, heads, experts)
             signed    order and signs (a stream read through RMSNorm, a latent)
             centred   order and one global sign (a stream read through LayerNorm)
             glu       order, and a scale that only factors marked ^ see (gated neurons)
             basis     any invertible map (value/output; query/key where nothing rotates)
             planes    one complex number per rotary plane, the rest of the entries like ``basis``
             fixed     nothing

An element belongs to one value of every name in the scope: placeholders of tensor names ("i" of a layer, "e" of an
expert) and axes around it ("g" of a head group).  An empty scope is one element for the whole model.  The stored axes
of a tensor stand in one expression: names of axes, what lies inside what, and which side acts.

    "(g r q) d"        rows are query heads r of groups g, each of q entries; columns are the stream d
    "(n | n^) d"       two blocks of rows, one after the other (fused gate and up)
    "(g (q | p)) u"    blocks inside every head
    "=", "_", "3"      copied as it is; an axis that nothing acts on, of any size or of a given one

    marks:  !  the order of the axis without its signs (gains)    ^  takes the scale of a gated neuron too
            '  the contragredient side (k against q, o against v, down against up)

Source: the permutation specification of Git Re-Basin (arXiv 2209.04836) names one permutation per axis.  We differ:
products, concatenations and marks, so that heads, fused tensors, experts and general maps are expressible.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

Kind = Literal["order", "signed", "centred", "glu", "basis", "planes", "fixed"]

#: space -> what the command line calls the part of the model, in the order in which spaces are reported.
SPACES: Final[Mapping[str, str]] = {
    "residual": "residual",
    "query_key": "attention",
    "value_output": "attention",
    "latents": "attention",
    "heads": "heads",
    "neurons": "mlp",
    "experts": "mlp",
}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a family.

    Args:
      kind:    see above.
      size:    expression over configuration keys, see ``evaluate``.
      scope:   names that its element depends on.
      space:   key of ``SPACES``.
      stream:  (circuit, purpose) that the key's bytes for it are drawn from; placeholders in braces.
      rotary:  expression for the rotated entries of ``planes``; "" for all.
      pairs:   planes are entries (2i, 2i + 1) instead of (i, i + rotary / 2).
      normed:  a norm with a gain follows: only quarter turns, which the gain follows, and no map of the rest.
      partial: some layers may lack every tensor that carries it (dense layers of a sparse model).
    """

    kind: Kind
    size: str
    scope: tuple[str, ...] = ()
    space: str = "residual"
    stream: tuple[str, str] = ("residual", "")
    rotary: str = ""
    pairs: bool = False
    normed: bool = False
    partial: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether its one element serves the whole model as the residual stream."""
        return not self.scope and self.space == "residual" and self.kind != "fixed"


_OPERATORS: Final = (ast.Or, ast.Mult, ast.Div, ast.Add)
_NODES: Final = (ast.BoolOp, ast.BinOp, *_OPERATORS, ast.Constant, ast.Attribute, ast.Name, ast.Load)
_PURPOSE: Final = {"query_key": "qk", "value_output": "vo", "heads": "heads", "experts": "experts"}
_FLAGS: Final = ("pairs", "normed", "partial")
_OPTIONS: Final = ("at", "per", "rotary")


def declared(space: str, kinds: str, size: str, options: Mapping[str, str]) -> Axis:
    """Return the axis that a line of a table declares.

    Args:
      space:   key of ``SPACES``.
      kinds:   its kind, and flags behind it.
      size:    expression.
      options: "at" (a circuit, and behind a space the purpose), "per" (axes around it), "rotary" (expression).
    Raises: ValueError for words that are not in the language.
    """
    kind, *flags = kinds.split()
    odd = [*(flag for flag in flags if flag not in _FLAGS), *(key for key in options if key not in _OPTIONS)]
    found = next((one for one in get_args(Kind) if one == kind), None)
    if odd or found is None:
        raise ValueError(f"{odd[0] if odd else kind!r} is no kind of axis ({', '.join(get_args(Kind))}) and no option")
    label, _, purpose = options.get("at", "residual").partition(" ")
    return Axis(
        kind=found,
        size=size,
        scope=(*re.findall(r"\{(\w)\}", label), *options.get("per", "").split()),
        space=space,
        stream=(label, purpose or _PURPOSE.get(space, "")),
        rotary=options.get("rotary", ""),
        **dict.fromkeys(flags, True),
    )


@cache
def parsed(expression: str) -> ast.expr:
    """Return the tree of an expression; ValueError for what no size needs."""
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{expression!r} is no size: {error.msg}") from error
    for node in ast.walk(tree):
        if not isinstance(node, _NODES) or (isinstance(node, ast.Constant) and not isinstance(node.value, int | float)):
            raise ValueError(f"{expression!r} is no size: it may name keys and use numbers, or, *, / and +")
    return tree


VERBATIM = "="
_FIRST = re.compile(r"\((?:[^()]|\([^()]*\))*\)|\S+")


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One axis where it stands; ``axis`` is "" for an axis that nothing acts on, ``size`` then its size (0: any)."""

    axis: str = ""
    size: int = 0
    signed: bool = True
    scaled: bool = False
    dual: bool = False


@dataclass(frozen=True)
class Product:
    """Axes inside one another, the outermost first."""

    factors: "tuple[Node, ...]"


@dataclass(frozen=True)
class Concat:
    """Blocks one after the other along a stored axis."""

    parts: tuple[Product, ...]


Node = Factor | Product | Concat
Nodes = tuple[Node, ...]


@cache
def parse(expression: str) -> Nodes:
    """Return one node per stored axis.

    Raises: ValueError, with what could not be read; a table is ours, so this ends an import, not a run.
    """
    tokens = re.findall(r"[()|]|\w+[!^']*|\S", expression)
    if not tokens:
        raise ValueError("a tensor has no expression")
    nodes: list[Node] = []
    while tokens:
        nodes.append(_factor(tokens, expression))
    return tuple(nodes)


def _factor(tokens: list[str], expression: str) -> Node:
    token = tokens.pop(0)
    if token == "(":
        parts = [_product(tokens, expression)]
        while tokens and tokens[0] == "|":
            tokens.pop(0)
            parts.append(_product(tokens, expression))
        if not tokens or tokens.pop(0) != ")":
            raise ValueError(f"a parenthesis is open in {expression!r}")
        return parts[0] if len(parts) == 1 else Concat(tuple(parts))
    found = re.fullmatch(r"(\w+?)([!^']*)", token)
    if found is None:
        raise ValueError(f"{token!r} in {expression!r}")
    name, marks = found.groups()
    if name == "_" or name.isdigit():
        return Factor(size=0 if name == "_" else int(name))
    return Factor(axis=name, signed="!" not in marks, scaled="^" in marks, dual="'" in marks)


def _product(tokens: list[str], expression: str) -> Product:
    factors = []
    while tokens and tokens[0] not in ")|":
        factors.append(_factor(tokens, expression))
    return Product(tuple(factors))


def bias_rows(expression: str) -> str:
    """Return the expression of the bias beside a weight: the rows, all of them or none; a gain's with its signs."""
    rows, mark, key = expression.partition("?")
    first = _FIRST.findall(rows)[0]
    return f"{first.rstrip('!') if first == rows.strip() else first} ?{key if mark else ''}"


def leaves(node: Node) -> Iterator[Factor]:
    """Yield every factor of a node, from left to right."""
    if isinstance(node, Factor):
        yield node
        return
    for inner in node.factors if isinstance(node, Product) else node.parts:
        yield from leaves(inner)


def size_of(node: Node, sizes: Mapping[str, int]) -> int:
    """Return the number of entries of a node; 0 where it may be any."""
    if isinstance(node, Factor):
        return sizes[node.axis] if node.axis else node.size
    if isinstance(node, Concat):
        return sum(size_of(part, sizes) for part in node.parts)
    total = 1
    for factor in node.factors:
        total *= size_of(factor, sizes)
    return total
