"""The feed-forward network of a circuit as three matrices with a row per neuron, however a family stores it.

    y = down^T (act(gate x + gate_bias) * (up x + up_bias)) + down_bias            without a gate: up is not there

Which tensor is which, the table says: of gated neurons the gate bears no mark, up is scaled (^), down is dual ('); of
others the first map of the table reads and the second writes.  Fused maps and maps stored as (in, out) come apart here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.circuits import Circuit
from mergebarrier.symmetry.blocks import StoredBlock, Tensors, blocks, fold


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Where the parts of a network are stored.

    Attributes:
      circuit: that holds it.
      places:  (tensor on disk, number of the block in it) -> "gate", "up", "down", and with "_bias" what is added.
      stems:   canonical names of the maps, without ".weight", in the order of the table; gate and up may be one.
      turned:  parts that are stored with the stream first.
    """

    circuit: Circuit
    places: Mapping[tuple[str, int], str]
    stems: tuple[str, ...]
    turned: frozenset[str]

    @property
    def gated(self) -> bool:
        """Whether a gate and what it lets through are two maps."""
        return "up" in self.places.values()

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names on disk of the tensors that hold parts."""
        return tuple(dict.fromkeys(name for name, _ in self.places))

    def parts(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return the parts: matrices with a row per neuron, vectors."""
        found = {}
        for block in blocks(self.circuit, tensors):
            part = self.places.get((block.member.name, block.number))
            if part is not None:
                found[part] = block.tensor.mT if part in self.turned else block.tensor
        return found

    def stored(self, parts: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors as they are stored: the inverse of ``parts``; a bias that is not there is not yielded."""
        for member in self.circuit.members:
            inside = [part for (name, _), part in sorted(self.places.items()) if name == member.name]
            if inside and all(part in parts for part in inside):
                values = (parts[part].mT if part in self.turned else parts[part] for part in inside)
                yield member.name, fold(values.__next__, member.nodes)


def feed_forward(circuit: Circuit) -> FeedForward | None:
    """Return the network of a circuit; None where there is none, or it is not made of two or three plain maps."""
    neurons = [one for one in circuit.instances if circuit.axis(one).space == "neurons"]
    if len(neurons) != 1 or circuit.batches[neurons[0]] or len(neurons[0][1]) > 1:
        return None
    axis, gated = neurons[0][0], circuit.axis(neurons[0]).kind == "glu"
    found = list(blocks(circuit, dict.fromkeys(circuit.tensors, torch.empty(0))))
    carrying = [block for block in found if axis in [factor.axis for factor in block.factors]]
    matrices = [block for block in carrying if len(block.factors) == 2]
    names = [_gated(block, axis) for block in matrices] if gated else ["gate", "down"][: len(matrices)]
    if sorted(names) != (["down", "gate", "up"] if gated else ["down", "gate"]) or len(matrices) != len(names):
        return None
    part_of = {(block.member.stem, block.number): name for block, name in zip(matrices, names, strict=True)}
    (written,) = [stem for (stem, _), name in part_of.items() if name == "down"]
    places = {(block.member.name, block.number): name for block, name in zip(matrices, names, strict=True)}
    for block in found:
        key = block.member.stem, block.number
        if len(block.factors) == 1 and (key in part_of if block in carrying else block.member.stem == written):
            places[block.member.name, block.number] = f"{part_of[key]}_bias"
        elif block in carrying and block not in matrices:
            return None
    turned = {name for block, name in zip(matrices, names, strict=True) if block.place(axis) == 1}
    stems = tuple(dict.fromkeys(block.member.stem for block in matrices))
    return FeedForward(circuit=circuit, places=places, stems=stems, turned=frozenset(turned))


def _gated(block: StoredBlock, axis: str) -> str:
    factor = block.factors[block.place(axis)]
    return "down" if factor.dual else "up" if factor.scaled else "gate"
