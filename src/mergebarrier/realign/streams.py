"""The order of a residual stream, seen where nothing else has moved, and where that is not enough in all circuits.

Rows of a vocabulary correspond, so a sample of them shows which coordinate is which: N = sum X'^T X0, assigned on
|N_jk| over the norms.  Coordinates whose partner stands out are done; only the others are looked for again in the
matrices of every circuit, among themselves.

    clear  <=>  cos_jk > .3 + every other in row and column,  or  1 - |other| > 9 (1 - cos_jk)

Source: ours; one permutation per axis, shared by all layers, as in Git Re-Basin (arXiv 2209.04836).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.lazy import torch
from mergebarrier.realign.realignment import row_blocks

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.arch import Kind
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit
    from mergebarrier.symmetry import Correlation, LinearMap, Monomial, Tensors

# Rows of an embedding that are enough to tell most coordinates apart: cosines are off by 1/64.
_SAMPLE_ROWS = 4096
# A rotation is believed where it explains so much, and so much more than a signed order does.
_ROTATED, _BETTER = 0.5, 1.5


@dataclass(frozen=True, eq=False)
class FoundStream:
    """What is known of a stream.

    Attributes:
      element: from the anchor to the model.
      kind:    of the axis.
      unclear: the anchor's coordinates whose partners may yet change, Int64[Tensor, "k"].
      seen:    what rows that correspond say about those, with the element undone.
    """

    element: Monomial | LinearMap
    kind: Kind
    unclear: Tensor
    seen: Correlation

    @classmethod
    def of(cls, architecture: Architecture, axis: str, model: Checkpoint, anchor: Checkpoint) -> FoundStream:
        """Estimate a stream from rows that correspond: a sample, or all of them where a sample leaves doubts."""
        kind = architecture.axis(axis).kind
        for limit in (_SAMPLE_ROWS, None):
            seen = plain_correlation(architecture, axis, model, anchor, limit)
            element = symmetry.signed_order(seen, kind)
            unclear = seen.unclear(element)
            if not len(unclear):
                break
        if 2 * len(unclear) > len(seen.total) and not isinstance(symmetry.rotatable(architecture), str):
            rows = plain_correlation(architecture, axis, model, anchor, None, without=architecture.table.head)
            turn, reached = symmetry.nearest_rotation(rows)
            if reached > _ROTATED and reached > _BETTER * _reached(element, rows):
                return cls(turn, kind, unclear[:0], symmetry.Correlation.zero(0))
        return cls(element, kind, unclear, seen.within(element, unclear))

    def again(self, total: Correlation) -> FoundStream:
        """Return the stream by what all circuits say about the coordinates that are not clear; itself if it stands."""
        if not len(self.unclear) or isinstance(self.element, symmetry.LinearMap):
            return self
        change = symmetry.signed_order(total, "signed" if self.kind == "signed" else "order")
        if change.is_identity():
            return self
        whole = symmetry.identity(1, len(self.element.perm[0]))
        whole.perm[0, self.unclear] = self.unclear[change.perm[0]]
        whole.factor[0, self.unclear] = change.factor[0]
        everyone = torch.arange(len(self.unclear))
        return replace(self, element=self.element.after(whole), seen=self.seen.within(change, everyone))


def streams_of(architecture: Architecture) -> list[str]:
    """Return the axes whose one element serves the whole model: the residual streams."""
    return [name for name, axis in architecture.table.axes.items() if axis.is_stream]


def correlate(circuit: Circuit, axis: str, now: Tensors, then: Tensors, entries: Tensor | None = None) -> Correlation:
    """Return what the matrices of a circuit say about a stream, or some entries; their other axes must correspond."""
    total = symmetry.Correlation.zero(circuit.sizes[axis] if entries is None else len(entries))
    for here, there in zip(symmetry.blocks(circuit, now), symmetry.blocks(circuit, then), strict=True):
        held = [factor.axis for factor in here.factors]
        if held.count(axis) == 1 and len(held) > 1:
            for both in zip(here.entries, there.entries, strict=True):
                sides = [symmetry.matrix(side, axis, ())[0] for side in both]
                left, right = (side if entries is None else side[entries] for side in sides)
                total = total + symmetry.Correlation.of(left.T, right.T)
    return total


def _reached(element: Monomial, rows: Correlation) -> float:
    """Return the cosine that a signed order reaches over all entries."""
    kept = rows.within(element, torch.arange(len(rows.total)))
    energy = float((rows.energy_now.sum() * rows.energy_then.sum()).sqrt())
    return float(kept.total.diagonal().sum()) / energy if energy else 0.0


def plain_correlation(
    architecture: Architecture,
    axis: str,
    model: Checkpoint,
    anchor: Checkpoint,
    limit: int | None,
    *,
    without: str = "",
) -> Correlation:
    """Sum over tensors on whose other axes nothing acts: embeddings, positions, heads, patches.

    Args:
      architecture: of both.
      axis:         a stream.
      model:        whose coordinates are sought.
      anchor:       the base.
      limit:        rows of a tensor that are enough, None for all.
      without:      a tensor by its canonical name that is left out.
    """
    total = symmetry.Correlation.zero(next(circuit.sizes[axis] for circuit in architecture.circuits))
    for circuit in architecture.circuits:
        moved = [{one for one in member.line.axes if circuit.family.acts(one)} for member in circuit.members]
        if circuit.name != without and all(axes == {axis} for axes in moved):
            for now, then in zip(row_blocks(circuit, model, limit), row_blocks(circuit, anchor, limit), strict=True):
                total = total + correlate(circuit, axis, now, then)
    return total
