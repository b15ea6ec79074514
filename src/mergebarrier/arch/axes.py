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
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

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
      uneven:  what to say when ``size`` is a quotient that leaves a rest, with a place for either side.
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
    uneven: str = ""

    @property
    def is_stream(self) -> bool:
        """Whether its one element serves the whole model as the residual stream."""
        return not self.scope and self.space == "residual" and self.kind != "fixed"


_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Add: operator.add,
}


def evaluate(expression: str, config: Mapping[str, Any]) -> Any:
    """Return the value of an expression such as "head_dim or hidden_size / num_attention_heads".

    Names are keys of the configuration, dotted into nested tables; ``or`` takes the first that is there and not null.
    Returns None when nothing is there.
    """
    return _value(_parsed(expression), config)


def sides(expression: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the values of both sides of a quotient."""
    node = _parsed(expression)
    assert isinstance(node, ast.BinOp)
    return _value(node.left, config), _value(node.right, config)


@cache
def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _value(node: ast.expr, config: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        values = (_value(one, config) for one in node.values)
        return next((value for value in values if value is not None), None)
    if isinstance(node, ast.BinOp):
        sides = [_value(side, config) for side in (node.left, node.right)]
        numbers = all(isinstance(side, int | float) and not isinstance(side, bool) for side in sides)
        if not numbers or (isinstance(node.op, ast.Div) and not sides[1]):
            return None
        return _OPERATORS[type(node.op)](*sides)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Attribute):
        outer = _value(node.value, config)
        return outer.get(node.attr) if isinstance(outer, Mapping) else None
    assert isinstance(node, ast.Name)
    return config.get(node.id)


VERBATIM = "="


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
