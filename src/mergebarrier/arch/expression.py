"""The stored axes of a tensor in one expression: names of axes, what lies inside what, and which side acts.

    "(g r q) d"        rows are query heads r of groups g, each of q entries; columns are the stream d
    "(n | n^) d"       two blocks of rows, one after the other (fused gate and up)
    "(g (q | p)) u"    blocks inside every head
    "=", "_", "3"      copied as it is; an axis that nothing acts on, of any size or of a given one

    marks:  !  the order of the axis without its signs (gains)    ^  takes the scale of a gated neuron too
            '  the contragredient side (k against q, o against v, down against up)

Source: the permutation specification of Git Re-Basin (arXiv 2209.04836) names one permutation per axis.  We differ:
products, concatenations and marks, so that heads, fused tensors, experts and general maps are expressible.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

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


def unfold(tensor: "Tensor", nodes: Nodes, sizes: Mapping[str, int]) -> "list[tuple[tuple[Factor, ...], Tensor]]":
    """Split a tensor into views with one dimension per factor.

    Args:
      tensor: with one dimension per node.
      nodes:  of its line.
      sizes:  of the axes.
    Returns: (the factors, the view) of every block, in storage order.
    """
    for place, node in enumerate(nodes):
        if isinstance(node, Concat):
            blocks = tensor.split([size_of(part, sizes) for part in node.parts], dim=place)
            return [
                found
                for block, part in zip(blocks, node.parts, strict=True)
                for found in unfold(block, (*nodes[:place], part, *nodes[place + 1 :]), sizes)
            ]
        if isinstance(node, Product):
            inner = [size_of(factor, sizes) for factor in node.factors]
            return unfold(tensor.unflatten(place, inner), (*nodes[:place], *node.factors, *nodes[place + 1 :]), sizes)
    factors = tuple(node for node in nodes if isinstance(node, Factor))
    return [(factors, tensor)]


def fold(take: "Callable[[], Tensor]", nodes: Nodes) -> "Tensor":
    """Undo ``unfold``: ``take`` gives the blocks in storage order."""
    import torch

    for place, node in enumerate(nodes):
        if isinstance(node, Concat):
            around = [(*nodes[:place], part, *nodes[place + 1 :]) for part in node.parts]
            return torch.cat([fold(take, inner) for inner in around], dim=place)
        if isinstance(node, Product):
            whole = fold(take, (*nodes[:place], *node.factors, *nodes[place + 1 :]))
            return whole.flatten(place, place + len(node.factors) - 1)
    return take()
