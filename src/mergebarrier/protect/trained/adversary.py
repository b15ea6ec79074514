"""A merger inside the loop: coefficients of single tensors, moved a few steps towards a merge that works.

    a_t, b_t <- clip(a_t - size g / max |g|),      g = d/d(a, b) [ L(merge; own rows) + L(merge; rows of the sibling) ]

A trap that was shown scalar coefficients fails at those alone: whoever learns one coefficient per tensor switches its
guards off.  Here the trainer is shown what such a search finds.  Source: adversarial training, arXiv 1706.06083, over
the coefficients of AdaMerging, arXiv 2310.02575; ours.  Each search starts anew, so that nothing but the weights passes
from one step of the training to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.training import ChosenRows, Point, ProtectiveState

#: How far the coefficient that matters most moves in a step, and between what.
_STEP: Final = 0.2
_LOWEST, _HIGHEST = -0.2, 1.4


def searched_merge(state: ProtectiveState, start: Point, rows: Sequence[ChosenRows], steps: int) -> Point:
    """Return a merge with one coefficient per tensor, nearer to one that works.

    Args:
      state: of the training.
      start: a merge with numbers as coefficients and without an edit.
      rows:  whose right answers the merger wants: the own ones, and those of the sibling where there are any; without
             the latter the coefficients of siblings stay.
      steps: of the search.
    """
    from mergebarrier.training import Point

    own = _per_tensor(state, start.scale)
    others = [(place, _per_tensor(state, share)) for place, share in start.partners]
    moved = [own, *(table for _, table in others if len(rows) > 1)]
    leaves = [value for table in moved for value in table.values()]
    for _ in range(steps):
        point = Point(scale=own, partners=tuple(others))
        value = torch.stack([state.loss(point, asked) for asked in rows]).sum()
        slopes = torch.autograd.grad(value, leaves, allow_unused=True)
        largest = max((float(slope.abs()) for slope in slopes if slope is not None), default=0.0)
        if not 0.0 < largest < float("inf"):
            break
        with torch.no_grad():
            for leaf, slope in zip(leaves, slopes, strict=True):
                if slope is not None:
                    leaf.sub_(_STEP * slope / largest).clamp_(_LOWEST, _HIGHEST)
    fixed = [{name: float(value.detach()) for name, value in table.items()} for table in (own, *(t for _, t in others))]
    return Point(scale=fixed[0], partners=tuple(zip((place for place, _ in others), fixed[1:], strict=True)))


def _per_tensor(state: ProtectiveState, share: object) -> dict[str, Tensor]:
    assert isinstance(share, float)
    return {name: torch.tensor(share, requires_grad=True) for name in state.base}
