"""Tensors of a circuit as blocks with one dimension per axis, and blocks as the matrices that one axis sees.

(g r q) d  of [H dh, d]   ->   dimensions g, r, q, d          matrix of q:  [batch g, q, r d]
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.arch import Concat, Factor, Nodes, Product, leaves, size_of
from mergebarrier.circuits import Circuit, Instance, Member, instance

Tensors = Mapping[str, Tensor]


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
    """A view of a part of a stored tensor.

    Attributes:
      member:  whose it is; ``number`` which part of it.
      factors: one per dimension of ``tensor``.
    """

    member: Member
    number: int
    factors: tuple[Factor, ...]
    tensor: Tensor

    def place(self, axis: str) -> int:
        """Return the dimension of an axis."""
        return next(place for place, factor in enumerate(self.factors) if factor.axis == axis)


@dataclass(frozen=True, kw_only=True)
class ActedRows:
    """What one element acts on, as matrices.

    Attributes:
      now:    Float[Tensor, "batch n m"]; ``then`` the same of the anchor.
      vector: whether it is a bias or a gain and no matrix.
      factor: how the axis stands there (its marks).
      stem:   name without the last word, by which a bias finds its weight; ``number`` of the block.
    """

    now: Tensor
    then: Tensor
    vector: bool
    factor: Factor
    stem: str
    number: int


def blocks(circuit: Circuit, tensors: Tensors) -> Iterator[StoredBlock]:
    """Yield the blocks of every tensor of a circuit that is there."""
    for member in circuit.members:
        if member.name in tensors:
            for number, (factors, view) in enumerate(unfold(tensors[member.name], member.nodes, circuit.sizes)):
                yield StoredBlock(member=member, number=number, factors=factors, tensor=view)


def matrix(block: StoredBlock, axis: str, batch: tuple[str, ...]) -> Tensor:
    """Return a block as [batch, n, m] for one of its axes; a copy where the order of dimensions asks for one."""
    first = [block.place(name) for name in (*batch, axis)]
    rest = [place for place in range(block.tensor.dim()) if place not in first]
    moved = block.tensor.permute(*first, *rest)
    return moved.reshape(-1 if batch else 1, moved.shape[len(batch)], moved[(0,) * (len(batch) + 1)].numel())


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
    batch = circuit.batches[element]
    found: dict[tuple[str, int, Factor], ActedRows] = {}
    pairs = zip(_carrying(circuit, element, now, known), _carrying(circuit, element, then, known), strict=True)
    for (here, factor, vector), (there, _, _) in pairs:
        sides = [matrix(side, element[0], batch) for side in (here, there)]
        rows = ActedRows(
            now=sides[0], then=sides[1], vector=vector, factor=factor, stem=here.member.stem, number=here.number
        )
        _join(found, rows)
    return list(found.values())


def count_matrices(circuit: Circuit, element: Instance, tensors: Tensors, known: Callable[[Instance], bool]) -> int:
    """Return how many matrices ``carriers`` would return, without making them."""
    found = _carrying(circuit, element, tensors, known)
    return len({(block.member.stem, block.number, factor) for block, factor, vector in found if not vector})


def _carrying(
    circuit: Circuit, element: Instance, tensors: Tensors, known: Callable[[Instance], bool]
) -> Iterator[tuple[StoredBlock, Factor, bool]]:
    """Yield the blocks, how the axis stands in each, and whether it is a vector: a bias or a gain."""
    batch = circuit.batches[element]
    for block in blocks(circuit, tensors):
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
        yield block, factor, not any(other.axis not in (*batch, *beside) for other in block.factors)


def _join(found: dict[tuple[str, int, Factor], ActedRows], rows: ActedRows) -> None:
    """Add rows; a bias follows the rows of its weight, so it is one more column of it."""
    key = (rows.stem, rows.number, rows.factor)
    if key not in found:
        found[key] = rows
        return
    weight, bias = (rows, found[key]) if found[key].vector else (found[key], rows)
    found[key] = ActedRows(
        now=torch.cat([weight.now, bias.now], dim=2),
        then=torch.cat([weight.then, bias.then], dim=2),
        vector=weight.vector,
        factor=weight.factor,
        stem=weight.stem,
        number=weight.number,
    )
