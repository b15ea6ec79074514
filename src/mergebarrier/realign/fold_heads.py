"""Find key heads that are one, from the file alone: their keys and values agree but for a basis, which gives them away.

    K_b = z K_a per rotary plane,   V_b = M V_a      =>      groups a and b read the same keys and values
    queries and outputs of b follow into the basis of a, copies come to stand side by side, and one of each is kept

Source: ours.  Trained heads never agree so far; what was not repeated is left alone, and so is a model whose layers
repeat their heads by different numbers, which no configuration can say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.circuits import Circuit, Instance
    from mergebarrier.symmetry import Element, LinearMap, Tensors


@dataclass(frozen=True, kw_only=True)
class FoldedHeads:
    """Copies of key heads.

    Attributes:
      group:    axis of key heads; ``member`` that of the query heads of one.
      copies:   of each.
      elements: put copies side by side, all in the basis of the first.
    """

    group: str
    member: str
    copies: int
    elements: dict[Instance, Element]

    def once(self, circuit: Circuit, tensors: Tensors, sizes: dict[str, int]) -> dict[str, Tensor]:
        """Keep one of every ``copies`` key heads; ``sizes`` are those of the axes of what comes in."""
        folded = dict(tensors)
        for member in circuit.members:
            if self.group in member.line.axes:
                pieces = []
                for factors, view in symmetry.unfold(folded[member.name], member.nodes, sizes):
                    axes = [factor.axis for factor in factors]
                    if self.group in axes and self.member not in axes:
                        place = axes.index(self.group)
                        view = view.index_select(place, torch.arange(0, view.shape[place], self.copies))
                    pieces.append(view)
                folded[member.name] = symmetry.fold(iter(pieces).__next__, member.nodes)
        return folded


def has_groups(circuit: Circuit) -> bool:
    """Whether query heads share key heads in a circuit."""
    axes = symmetry.groups_of(circuit)
    return axes is not None and any(one[0] == axes[0] for one in circuit.instances)


def folded_heads(circuit: Circuit, tensors: Tensors, tolerance: float) -> FoldedHeads | None:
    """Return the copies among the key heads of a circuit; None where heads are not repeated, all by one number.

    Args:
      circuit:   any.
      tensors:   of it.
      tolerance: of the squared relative distance of keys and of values.
    """
    axes = symmetry.groups_of(circuit)
    order = next((one for one in circuit.instances if axes is not None and one[0] == axes[0]), None)
    if axes is None or order is None or circuit.sizes[axes[0]] < 2:
        return None
    group, member = axes
    sides = {
        one: side
        for one in circuit.instances
        if circuit.axis(one).space in symmetry.HEADS
        if (side := _RepeatedSide.of(circuit, one, tensors, group, member)) is not None
    }
    if {circuit.axis(one).space for one in sides} != symmetry.HEADS:
        return None
    first: list[int] = []
    for b in range(circuit.sizes[group]):
        same = (a for a in dict.fromkeys(first) if all(side.alike(a, b, tolerance) for side in sides.values()))
        first.append(next(same, b))
    numbers = set(Counter(first).values())
    if len(numbers) > 1 or numbers == {1}:
        return None
    perm = torch.tensor(sorted(range(len(first)), key=first.__getitem__))
    elements: dict[Instance, Element] = {
        one: side.element(first) for one, side in sides.items() if group in circuit.batches[one]
    }
    elements[order] = symmetry.Monomial(perm[None], torch.ones(1, len(perm), dtype=torch.float64))
    return FoldedHeads(group=group, member=member, copies=numbers.pop(), elements=elements)


@dataclass(frozen=True, kw_only=True, eq=False)
class _RepeatedSide:
    """What is repeated of one basis: Float64[Tensor, "groups n m"], its first ``rotated`` entries in planes.

    Where all heads are in one basis, because a norm has gains for it, copies are the same numbers.
    """

    rows: Tensor
    own: bool
    dual: bool
    planes: bool
    rotated: int
    pairs: bool

    @classmethod
    def of(cls, circuit: Circuit, one: Instance, tensors: Tensors, group: str, member: str) -> _RepeatedSide | None:
        found, dual = [], False
        for block in symmetry.blocks(circuit, tensors):
            axes = [factor.axis for factor in block.factors]
            if {one[0], group} <= set(axes) and member not in axes and block.factors[block.place(one[0])].signed:
                found.append(symmetry.matrix(block, one[0], (group,)).double())
                dual = block.factors[block.place(one[0])].dual
        if not found:
            return None
        axis = circuit.axis(one)
        planes = axis.kind == "planes"
        rotated = circuit.rotary[one[0]] if planes else 0
        own = group in circuit.batches[one]
        return cls(rows=torch.cat(found, dim=2), own=own, dual=dual, planes=planes, rotated=rotated, pairs=axis.pairs)

    def alike(self, a: int, b: int, tolerance: float) -> bool:
        """Whether the rows of b are those of a in another basis."""
        left = self.rows[a] - (self.carried(a, b) if self.own else self.rows[b])
        return float(left.square().sum()) <= tolerance * float(self.rows[a].square().sum())

    def carried(self, a: int, b: int) -> Tensor:
        """Return the rows of b in the basis of a."""
        z, rest = self.map(a, b)
        rows = self.rows[b].clone()
        first, second = self._entries
        turned = z[:, None] * torch.complex(rows[first], rows[second])
        rows[first], rows[second] = turned.real, turned.imag
        rows[self.rotated :] = rest @ rows[self.rotated :]
        return rows

    def map(self, a: int, b: int) -> tuple[Tensor, Tensor]:
        """Return the turns of planes, and the matrix behind them, that carry b to a."""
        then, now = self.rows[a], self.rows[b]
        first, second = self._entries
        x, y = (torch.complex(side[first], side[second]) for side in (now, then))
        z = (x.conj() * y).sum(1) / x.abs().square().sum(1).clamp_min(1e-300)
        solved = torch.linalg.lstsq(now[self.rotated :].mT, then[self.rotated :].mT).solution
        return torch.where(z == 0, torch.ones_like(z), z), solved.mT

    @property
    def _entries(self) -> tuple[Tensor, Tensor]:
        return symmetry.Planes(torch.ones(1, self.rotated // 2, dtype=torch.complex128), None, self.pairs).entries()

    def element(self, first: list[int]) -> Element:
        """Return what carries every group to the first of its kind, as it acts on the side that is not dual."""
        maps = [self.map(a, b) for b, a in enumerate(first)]
        forward = torch.stack([matrix for _, matrix in maps])
        rest = _linear(forward, self.dual)
        if not self.planes:
            return rest
        z = torch.stack([turns for turns, _ in maps])
        z = 1.0 / z.conj() if self.dual else z
        return symmetry.Planes(z, rest if forward.shape[-1] else None, self.pairs)


def _linear(forward: Tensor, dual: bool) -> LinearMap:
    backward = torch.linalg.inv(forward)
    return symmetry.LinearMap(backward.mT, forward.mT) if dual else symmetry.LinearMap(forward, backward)
