"""Tensors of a circuit as blocks with one dimension per axis, and blocks as the matrices that one axis sees.

(g r q) d  of [H dh, d]   ->   dimensions g, r, q, d          matrix of q:  [batch g, q, r d]

A block knows its axes without its values, which are asked for when they are needed and not kept: a table of tensors
may compute each when it is asked.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mergebarrier.arch import Concat, Factor, Nodes, Product, leaves, size_of
from mergebarrier.circuits import Circuit, Instance, Member, instance

Tensors = Mapping[str, Tensor]


@runtime_checkable
class ByEntry(Protocol):
    """A table of tensors that can give one index of a first dimension alone."""

    def entry(self, name: str, number: int, /) -> Tensor:
        """Return one index of the first dimension of a tensor."""


def entry_of(tensors: Tensors, name: str, number: int) -> Tensor:
    """Return one index of the first dimension of a tensor, and make no more of it where a table can do that."""
    return tensors.entry(name, number) if isinstance(tensors, ByEntry) else tensors[name][number]


def unfold(tensor: Tensor, nodes: Nodes, sizes: Mapping[str, int]) -> list[tuple[tuple[Factor, ...], Tensor]]:
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


def fold(take: Callable[[], Tensor], nodes: Nodes) -> Tensor:
    """Undo ``unfold``: ``take`` gives the blocks in storage order."""
    for place, node in enumerate(nodes):
        if isinstance(node, Concat):
            around = [(*nodes[:place], part, *nodes[place + 1 :]) for part in node.parts]
            return torch.cat([fold(take, inner) for inner in around], dim=place)
        if isinstance(node, Product):
            whole = fold(take, (*nodes[:place], *node.factors, *nodes[place + 1 :]))
            return whole.flatten(place, place + len(node.factors) - 1)
    return take()


@dataclass(frozen=True, kw_only=True)
class StoredBlock:
    """A part of a stored tensor.

    Attributes:
      member:  whose it is; ``number`` which part of it.
      factors: one per dimension of ``tensor``.
      sizes:   of the axes; ``tensors`` the table that holds it.
      entry:   the block is that entry of a stack alone.
    """

    member: Member
    number: int
    factors: tuple[Factor, ...]
    sizes: Mapping[str, int]
    tensors: Tensors
    entry: int | None = None

    @property
    def tensor(self) -> Tensor:
        """Return a view of the part."""
        name, nodes = self.member.name, self.member.nodes
        if self.entry is None:
            return unfold(self.tensors[name], nodes, self.sizes)[self.number][1]
        return unfold(entry_of(self.tensors, name, self.entry), nodes[1:], self.sizes)[self.number][1]

    @property
    def entries(self) -> "list[StoredBlock]":
        """Return the entries of a stack as blocks; what is none alone."""
        if not self.member.stack or self.entry is not None:
            return [self]
        return [self.at(number) for number in range(self.sizes[self.member.stack])]

    def at(self, number: int) -> "StoredBlock":
        """Return one entry of the first axis."""
        return replace(self, entry=number, factors=self.factors[1:])

    def place(self, axis: str) -> int:
        """Return the dimension of an axis."""
        return next(place for place, factor in enumerate(self.factors) if factor.axis == axis)


@dataclass(frozen=True, kw_only=True)
class ActedRows:
    """What one element acts on, as matrices.

    Attributes:
      axis:   of the element; ``batch`` the axes that it is batched over.
      parts:  pairs of blocks, of the model and of the anchor, a weight before its bias.
      vector: whether it is a bias or a gain and no matrix.
      factor: how the axis stands there (its marks).
    """

    axis: str
    batch: tuple[str, ...]
    parts: tuple[tuple[StoredBlock, StoredBlock], ...]
    vector: bool
    factor: Factor

    @property
    def columns(self) -> int:
        """Return how many columns the matrices have; an axis of any size counts as one."""
        inner = [factor for factor in self.parts[0][0].factors if factor.axis not in (*self.batch, self.axis)]
        return prod(size_of(factor, self.parts[0][0].sizes) or 1 for factor in inner)

    @property
    def now(self) -> Tensor:
        """Return Float[Tensor, "batch n m"], of the model."""
        return self._joined([here for here, _ in self.parts], self.batch)

    @property
    def then(self) -> Tensor:
        """Return Float[Tensor, "batch n m"], of the anchor."""
        return self._joined([there for _, there in self.parts], self.batch)

    def entries(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``now`` and ``then``, Float[Tensor, "n m"], of one batch entry after the other."""
        stack = self.parts[0][0].member.stack
        if self.batch != (stack,):
            yield from zip(self.now, self.then, strict=True)
            return
        for number in range(self.parts[0][0].sizes[stack]):
            sides = ([block.at(number) for block in side] for side in zip(*self.parts, strict=True))
            now, then = (self._joined(side, ()) for side in sides)
            yield now[0], then[0]

    def _joined(self, blocks: list[StoredBlock], batch: tuple[str, ...]) -> Tensor:
        found = [matrix(block, self.axis, batch) for block in blocks]
        return found[0] if len(found) == 1 else torch.cat(found, dim=2)


def blocks(circuit: Circuit, tensors: Tensors) -> Iterator[StoredBlock]:
    """Yield the blocks of every tensor of a circuit that is there."""
    for member in circuit.members:
        if member.name in tensors:
            shape = [size_of(node, circuit.sizes) or 1 for node in member.nodes]
            for number, (factors, _) in enumerate(
                unfold(torch.empty(shape, device="meta"), member.nodes, circuit.sizes)
            ):
                yield StoredBlock(
                    member=member, number=number, factors=factors, sizes=circuit.sizes, tensors=tensors
                )  # fmt: skip


def matrix(block: StoredBlock, axis: str, batch: tuple[str, ...]) -> Tensor:
    """Return a block as [batch, n, m] for one of its axes; a copy where the order of dimensions asks for one."""
    first = [block.place(name) for name in (*batch, axis)]
    rest = [place for place in range(len(block.factors)) if place not in first]
    moved = block.tensor.permute(*first, *rest)
    return moved.reshape(-1 if batch else 1, moved.shape[len(batch)], moved[(0,) * (len(batch) + 1)].numel())


def stream_place(reader: Member, norm: Member) -> int:
    """Return the dimension on which a reader meets the stream that a norm belongs to."""
    (axis,) = norm.line.axes
    return next(place for place, node in enumerate(reader.nodes) if getattr(node, "axis", "") == axis)


def carriers(
    circuit: Circuit, element: Instance, now: Tensors, then: Tensors, known: Callable[[Instance], bool]
) -> list[ActedRows]:
    """Return all that an element acts on and whose other axes are known to correspond, biases with their weights.

    Args:
      circuit: from ``describe``.
      element: of the circuit.
      now:     tensors of the model, with all that is known undone.
      then:    those of the anchor.
      known:   whether another element has been undone already.
    """
    found: dict[tuple[str, int, Factor], ActedRows] = {}
    for rows in _carrying(circuit, element, now, then, known):
        here, _ = rows.parts[0]
        key = (here.member.stem, here.number, rows.factor)
        if key in found:  # a bias is one more column of its weight
            weight, bias = (rows, found[key]) if found[key].vector else (found[key], rows)
            rows = replace(weight, parts=(*weight.parts, *bias.parts))
        found[key] = rows
    return list(found.values())


def weights(
    circuit: Circuit, element: Instance, now: Tensors, then: Tensors, known: Callable[[Instance], bool]
) -> list[ActedRows]:
    """Return the matrices among ``carriers``, without biases."""
    return [rows for rows in _carrying(circuit, element, now, then, known) if not rows.vector]


def _carrying(
    circuit: Circuit, element: Instance, now: Tensors, then: Tensors, known: Callable[[Instance], bool]
) -> Iterator[ActedRows]:
    """Yield every block that the element acts on by itself."""
    batch = circuit.batches[element]
    for block, there in zip(blocks(circuit, now), blocks(circuit, then), strict=True):
        axes = [factor.axis for factor in block.factors if circuit.family.acts(factor.axis)]
        if element[0] not in axes or instance(circuit.family, element[0], block.member) != element:
            continue
        moved = [name for name in block.member.indices if name in circuit.family.axes and circuit.family.acts(name)]
        others = {instance(circuit.family, axis, block.member) for axis in (*axes, *moved) if axis != element[0]}
        if axes.count(element[0]) > 1 or not all(known(other) for other in others):
            continue
        factor = block.factors[block.place(element[0])]
        stored = [tuple(leaves(node)) for node in block.member.nodes]
        beside = {leaf.axis for node in stored if factor in node for leaf in node}
        vector = not any(other.axis not in (*batch, *beside) for other in block.factors)
        yield ActedRows(axis=element[0], batch=batch, parts=((block, there),), vector=vector, factor=factor)
