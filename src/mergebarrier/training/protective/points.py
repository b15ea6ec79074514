"""A point in weight space as data: which weights a merger, a rounding or a search would make of the protected model.

    W = noise( W0 + a * edit(tau) + sum_j c_j tau_j )          a, c_j: a number, or one per tensor

tau is what is trained, tau_j are task vectors of siblings; the nominal point is what the owner publishes.  A segment to
a sibling is the point a = 1 - t, c_j = t.  Coefficients may be tensors with a gradient, for a search inside the loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    from mergebarrier.training.protective.edits import Edit
    from mergebarrier.training.protective.noise import Noise

#: One number for all tensors, or name -> number; a name that is not there counts as 1 for the own vector, else 0.
Coefficient: TypeAlias = float | Mapping[str, float | Tensor]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Weights that somebody could make of the protected model.

    Args:
      scale:    of the own task vector.
      partners: (place in the pool, coefficient) of siblings.
      edit:     of the own task vector, before it is scaled.
      noise:    on the finished weights.
    """

    scale: Coefficient = 1.0
    partners: tuple[tuple[int, Coefficient], ...] = ()
    edit: "Edit | None" = None
    noise: "Noise | None" = None


NOMINAL = Point()


def weights_at(
    point: Point, base: Mapping[str, Tensor], tau: Mapping[str, Tensor], pool: Sequence[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the weights of a point, float32, with a graph to ``tau`` and to coefficients.

    Args:
      point: which.
      base:  every tensor that any task vector touches.
      tau:   the own task vector.
      pool:  those of siblings.
    """
    made = {}
    for name, start in base.items():
        weights = start.float()
        if name in tau:
            own = tau[name] if point.edit is None else point.edit.edited(tau[name], name)
            weights = weights + _of(point.scale, name, 1.0) * own
        for place, coefficient in point.partners:
            if name in pool[place]:
                weights = weights + _of(coefficient, name, 0.0) * pool[place][name]
        if point.noise is not None and weights.dim() > 1:
            weights = weights + point.noise.added(weights.detach(), name)
        made[name] = weights
    return made


def _of(coefficient: Coefficient, name: str, absent: float) -> float | Tensor:
    return coefficient.get(name, absent) if isinstance(coefficient, Mapping) else coefficient
