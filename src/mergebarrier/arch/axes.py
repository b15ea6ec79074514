"""What may act on an axis, how long it is, and how far one of its elements reaches.

    kind     order     any order of the entries (neurons behind GELU, heads, experts)
             signed    order and signs (a stream read through RMSNorm, a latent)
             centred   order and one global sign (a stream read through LayerNorm)
             glu       order, and a scale that only factors marked ^ see (gated neurons)
             basis     any invertible map (value/output; query/key where nothing rotates)
             planes    one complex number per rotary plane, the rest of the entries like ``basis``
             fixed     nothing

An element belongs to one value of every name in the scope: placeholders of tensor names ("i" of a layer, "e" of an
expert) and axes around it ("g" of a head group).  An empty scope is one element for the whole model.
"""

import ast
import operator
from collections.abc import Callable, Mapping
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
