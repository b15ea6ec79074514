"""The neurons of a circuit as rows over the stream, in a form that no trade of gains changes.

    rows of a neuron: the entries of every block that carries its axis and the stream, and else experts at most
    readers are multiplied by the gain in front of them;  a stream read through LayerNorm loses its mean

Which tensors these are, and how they are stored, the table of the family says; experts stand one below the other.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from mergebarrier.provenance.neurons import NeuronLayer
from mergebarrier.provenance.stored_rows import StoredRows
from mergebarrier.symmetry import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mergebarrier.circuits import Architecture, Circuit, Member
    from mergebarrier.symmetry import StoredBlock, Tensors

#: Its number, one for every axis of experts, and its rows with the gain in front of them.
_Expert: TypeAlias = "tuple[tuple[int, ...], tuple[Tensor, Tensor | None]]"


def main_stream(architecture: Architecture) -> str:
    """Return the residual stream that most circuits with neurons are part of."""
    streams = [name for name, axis in architecture.table.axes.items() if axis.space == "residual" and not axis.scope]
    return max(streams, key=lambda stream: len(layered(architecture, stream)))


def layered(architecture: Architecture, stream: str) -> list[Circuit]:
    """Return the circuits that hold neurons of a stream, in the order of the model."""
    return [circuit for circuit in architecture.circuits if neuron_tensors(circuit, stream)]


def neuron_tensors(circuit: Circuit, stream: str) -> tuple[str, ...]:
    """Return the names on disk of what ``layer_of`` reads: matrices of neurons, and the gains in front of them."""
    found = [member for member in circuit.members if stream in member.line.axes and _neurons(circuit, member.line.axes)]
    gains = (circuit.norm_of(member) for member in found)
    return tuple(dict.fromkeys(member.name for member in (*found, *gains) if member is not None))


def _neurons(circuit: Circuit, axes: tuple[str, ...]) -> list[str]:
    known = circuit.family.axes
    return [axis for axis in axes if axis in known and known[axis].space == "neurons"]


def layer_of(circuit: Circuit, tensors: Tensors, stream: str) -> NeuronLayer:
    """Return the neurons of a circuit, as they are stored.

    Args:
      circuit: of ``layered``.
      tensors: those of ``neuron_tensors``.
      stream:  axis that the neurons read and write.
    """
    axis = circuit.family.axes[stream]
    centred = axis.kind == "centred"
    found: dict[str, dict[tuple[bool, str, int, int], list[_Expert]]] = {}
    for block in blocks(circuit, tensors):
        axes = tuple(factor.axis for factor in block.factors)
        mine = _neurons(circuit, axes)
        around = [axis for axis in axes if axis and axis not in (stream, *mine)]
        if len(mine) != 1 or axes.count(stream) != 1 or any(_space(circuit, axis) != "experts" for axis in around):
            continue
        scaled = block.factors[block.place(mine[0])].scaled  # what a key may scale is held out
        expert = tuple(int(index) for index in block.member.indices.values())
        for number, rows in enumerate(_rows(block, mine[0], stream)):
            key = scaled, block.member.line.name, block.number, number
            gain = _gain(circuit, block, tensors)
            found.setdefault(mine[0], {}).setdefault(key, []).append((expert, (rows, gain)))
    kinds = [
        [[part for _, part in sorted(parts, key=lambda part: part[0])] for _, parts in _in_order(kind)]
        for kind in found.values()
    ]
    first, *held = (StoredRows(tuple(chain(*same)), centred) for same in zip(*kinds, strict=False))
    return NeuronLayer(name=circuit.name, read=first, held=tuple(held))


def _in_order(
    kind: dict[tuple[bool, str, int, int], list[_Expert]],
) -> list[tuple[tuple[bool, str, int, int], list[_Expert]]]:
    """Return the matrices of one kind of neurons in the order of the table, those that a key may scale last."""
    return sorted(kind.items(), key=lambda one: one[0][0])


def _space(circuit: Circuit, axis: str) -> str:
    return circuit.family.axes[axis].space if axis in circuit.family.axes else ""


def _rows(block: StoredBlock, neurons: str, stream: str) -> Tensor:
    """Return Float[Tensor, "k rows d"], one matrix for every entry of an axis without a name (interleaved storage)."""
    names = [factor.axis for factor in block.factors]
    unnamed = [place for place, name in enumerate(names) if not name]
    experts = [place for place, name in enumerate(names) if name and name not in (neurons, stream)]
    last = [block.place(neurons), block.place(stream)]
    moved = block.tensor.permute(*unnamed, *experts, *last)
    count = 1
    for place in range(len(unnamed)):
        count *= moved.shape[place]
    return moved.reshape(count, -1, moved.shape[-1])


def _gain(circuit: Circuit, block: StoredBlock, tensors: Tensors) -> Tensor | None:
    norm = circuit.norm_of(block.member)
    return None if norm is None else tensors[norm.name].float() + circuit.family.offset


def vocabulary_of(architecture: Architecture, stream: str, sizes: Mapping[str, int]) -> Member | None:
    """Return the largest tensor whose rows mean the same in two models: nothing acts on it but the stream.

    Args:
      architecture: of the model.
      stream:       its axis.
      sizes:        stored name -> number of entries.
    Returns: the embedding rather than a head of its size; None where a model has neither.
    """
    found = [
        member
        for circuit in architecture.circuits
        for member in circuit.members
        if member.line.axes.count(stream)
        and len(member.nodes) > 1
        and not any(axis != stream and circuit.family.acts(axis) for axis in member.line.axes)
    ]
    return max(found, key=lambda member: sizes[member.name], default=None)


def rows_of(member: Member, tensor: Tensor, stream: str, *, centred: bool) -> Tensor:
    """Return what corresponds row by row, Float[Tensor, "rows d"]; float32 without its mean behind a LayerNorm.

    Args:
      member:  of ``vocabulary_of``.
      tensor:  all of it, or rows where the stream is its last axis.
      stream:  its axis.
      centred: it is read through LayerNorm.
    """
    place = next(place for place, node in enumerate(member.nodes) if getattr(node, "axis", "") == stream)
    rows = tensor.movedim(place, -1).reshape(-1, tensor.shape[place])
    return rows.float() - rows.float().mean(1, keepdim=True) if centred else rows
