"""How far the attention of a model has moved from another one, seen so that no change of coordinates adds to it.

    matrix    |W - W0| / |W0|                     of q, k, v, o as they are stored, norms folded in
    product   |M - M0| / |M0|,  M = W^H D         V-O and, per rotary plane, Q-K; M - M0 = (W - W0)^H D + W0^H (D - D0)

A map inside the heads moves every matrix and no product; a trade between a norm and its readers moves neither.  All
of it has a graph, so that a training run can ask for distance; at the base itself the slope is zero, as a norm's is.
Products are never formed: their norms are sums over pairs of Gram matrices as wide as a head.

Source: the matrices as in ARF, arXiv 2606.30360; the products are ours.  Not seen: the order of heads, in which no
gradient moves anything, and rotations of the stream.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mergebarrier.circuits import Circuit
from mergebarrier.symmetry.blocks import ActedRows, Tensors, carriers, stream_place
from mergebarrier.symmetry.products import Factors, product_axes

_INNER = ("basis", "planes")
#: Squares of relative distances below this count as none: a root has no slope there.
_NONE = 1e-24


def displacements(circuit: Circuit, now: Tensors, then: Tensors) -> dict[str, Tensor]:
    """Return relative distances of everything inside the heads of a circuit; nothing where it has no heads.

    Args:
      circuit: from ``describe``.
      now:     its tensors, with a graph where one is wanted.
      then:    those of the base.
    Returns: the name of a matrix, or "products of <axis> in <circuit>" -> Float64[Tensor, ""].
    """
    here, there = folded_gains(circuit, now), folded_gains(circuit, then)
    found = {}
    for name, row in _matrices(circuit, here, there):
        found[name] = _relative(_size(row.now.double() - row.then.double()), _size(row.then.double()))
    for axis in product_axes(circuit, here):
        moved = total = torch.zeros((), dtype=torch.float64)
        ours, theirs = axis.factors(here), axis.factors(there)
        for span in axis.spans():
            (direct, dual), (direct0, dual0) = ((span.of(one), span.of(other)) for one, other in (ours, theirs))
            apart = torch.cat([direct, direct - direct0], 1), torch.cat([dual - dual0, dual0], 1)
            moved, total = moved + _product_size(apart), total + _product_size((direct0, dual0))
        found[f"products of {axis.one[0]} in {circuit.name}"] = _relative(moved, total)
    return found


def distances_from(circuits: Sequence[Circuit], base: Tensors) -> Callable[[Tensors], dict[str, Tensor]]:
    """Return what measures ``displacements`` of all circuits; tensors that it is not given are those of the base."""

    def measured(weights: Tensors) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for circuit in circuits:
            there = {name: base[name] for name in circuit.tensors if name in base}
            found |= displacements(circuit, {name: weights.get(name, there[name]) for name in there}, there)
        return found

    return measured


def _matrices(circuit: Circuit, now: Tensors, then: Tensors) -> Iterator[tuple[str, ActedRows]]:
    """Yield every matrix that an element inside the heads acts on, once, with its bias."""
    seen = set()
    for one in circuit.instances:
        if circuit.axis(one).kind in _INNER:
            for row in carriers(circuit, one, now, then, lambda other: True):
                block = row.parts[0][0]
                if not row.vector and (block.member.name, block.number) not in seen:
                    seen.add((block.member.name, block.number))
                    yield f"{block.member.name}{f', part {block.number}' if block.number else ''}", row


def folded_gains(circuit: Circuit, tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors with the gain of every norm in its readers."""
    folded = {name: tensors[name] for name in circuit.tensors if name in tensors}
    for member in circuit.members:
        norm = circuit.norm_of(member)
        if norm is not None and member.name in folded:
            shape = [-1 if place == stream_place(member, norm) else 1 for place in range(folded[member.name].dim())]
            gain = tensors[norm.name] + circuit.family.offset
            folded[member.name] = folded[member.name] * gain.reshape(shape)
    return folded


def _size(side: Tensor) -> Tensor:
    return side.abs().square().sum()


def _product_size(factors: Factors) -> Tensor:
    """Return |W^H D|^2 = sum of (D D^H) * conj(W W^H), which is real."""
    direct, dual = factors
    return ((direct @ direct.mH) * (dual @ dual.mH).conj()).real.sum()


def _relative(moved: Tensor, size: Tensor) -> Tensor:
    return (moved / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_min(_NONE).sqrt()
