"""A point in weight space as data: which weights a merger, a rounding or a search would make of the protected model.

    W = noise( W0 + a * edit(tau) + sum_j c_j tau_j )          a, c_j: a number, or one per tensor

tau is what is trained, tau_j are task vectors of siblings; the nominal point is what the owner publishes.  A segment to
a sibling is the point a = 1 - t, c_j = t.  Coefficients may be tensors with a gradient, for a search inside the loop.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from mergebarrier.training.protective.thin import ThinPart

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


def weight_at(
    point: Point, name: str, start: Tensor, own: Tensor | None, pool: Sequence[Mapping[str, Tensor]]
) -> Tensor:
    """Return one tensor of a point, float32, with a graph to the own vector and to coefficients.

    Args:
      point: which.
      name:  of the tensor.
      start: what the base has.
      own:   the own task vector's; None where it has none.
      pool:  task vectors of siblings.
    """
    weights = start.float()
    for coefficient, vector in _parts(point, name, own, pool):
        ours = weights is not start and not torch.is_grad_enabled()
        weights = _plus(weights, coefficient, vector, out=weights if ours else None)
    if point.noise is not None and weights.dim() > 1:
        weights = weights + point.noise.added(weights.detach(), name)
    return weights


def slopes_at(
    point: Point,
    name: str,
    own: Tensor | None,
    pool: Sequence[Mapping[str, Tensor]],
    slope: Tensor,
    leaves: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Return the slope along every leaf, given that along the tensor; the base has none, so it is not touched.

    Args:
      point:  which; its noise is a constant.
      name:   of the tensor.
      own:    the own task vector's; None where it has none.
      pool:   task vectors of siblings.
      slope:  Float32, in the shape of the tensor.
      leaves: behind the own vector and the coefficients, at least one.
    """
    ends, along = [], []
    for coefficient, vector in _parts(point, name, own, pool):
        learned = isinstance(coefficient, Tensor)
        end = coefficient * vector if learned else vector
        if end.requires_grad:
            ends.append(end)
            along.append(slope if learned or coefficient == 1 else slope * coefficient)
    return torch.autograd.grad(ends, leaves, along)


def thin_part(point: Point, name: str, b: Tensor, a: Tensor) -> ThinPart | None:
    """Return what is learned of one tensor, where its own vector is B A; None where more, or other, is learned."""
    shares = (_of(share, name, 0.0) for _, share in point.partners)
    if point.edit is not None or any(isinstance(share, Tensor) and share.requires_grad for share in shares):
        return None
    return ThinPart(scale=_of(point.scale, name, 1.0), b=b, a=a)


def _parts(
    point: Point, name: str, own: Tensor | None, pool: Sequence[Mapping[str, Tensor]]
) -> Iterator[tuple[float | Tensor, Tensor]]:
    """Yield what is added to the base: coefficient and vector."""
    if own is not None:
        yield _of(point.scale, name, 1.0), own if point.edit is None else point.edit.edited(own, name)
    for place, coefficient in point.partners:
        if name in pool[place]:
            yield _of(coefficient, name, 0.0), pool[place][name]


def coefficients_of(point: Point, name: str) -> list[Tensor]:
    """Return the coefficients of one tensor that a gradient may be asked of."""
    found = (_of(one, name, 0.0) for one in (point.scale, *(share for _, share in point.partners)))
    return [one for one in found if isinstance(one, Tensor) and one.requires_grad]


def _plus(weights: Tensor, coefficient: float | Tensor, vector: Tensor, *, out: Tensor | None) -> Tensor:
    """Return weights + coefficient vector, in one pass over memory where the coefficient is a number."""
    if isinstance(coefficient, Tensor):
        return torch.add(weights, coefficient * vector, out=out)
    return torch.add(weights, vector, alpha=coefficient, out=out)


def _of(coefficient: Coefficient, name: str, absent: float) -> float | Tensor:
    return coefficient.get(name, absent) if isinstance(coefficient, Mapping) else coefficient
