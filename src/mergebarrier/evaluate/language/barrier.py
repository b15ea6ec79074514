"""The barrier between two models: the loss along the straight line between their weights.

    barrier     = max_t [ L((1 - t) A + t B) - (1 - t) L(A) - t L(B) ],   t = 0, 1/(n - 1), ..., 1
    instability = max_t L((1 - t) A + t B) - (L(A) + L(B)) / 2

Source: Frankle et al., arXiv 1912.05671 (instability); Entezari et al., arXiv 2110.06296 (barrier).  Differs: nothing;
a barrier says nothing by itself, only compared with the one after realignment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

MIN_POINTS = 3


@dataclass(frozen=True)
class LossBarrier:
    """The loss on the line, in nats per token.

    Attributes:
      curve:       ((t, nats), ...), t rising from 0 to 1; a loss that is not a number counts as infinite.
      barrier:     greatest rise above the chord, at least 0.
      instability: greatest rise above the mean of the ends.
    """

    curve: tuple[tuple[float, float], ...]
    barrier: float
    instability: float


def barrier_curve(loss: Callable[[float], float], points: int = 11) -> LossBarrier:
    """Walk from one model to the other.

    Args:
      loss:   loss of (1 - t) A + t B in nats per token; called once per point, t rising.
      points: number of points, ends included, at least 3; reports use 11 or more.
    Returns: LossBarrier.
    Raises:  ValueError for fewer points.
    Example: >>> barrier_curve(lambda t: t * (1 - t), points=11).barrier
             0.25
    """
    if points < MIN_POINTS:
        raise ValueError(f"{points} points make no curve; take at least {MIN_POINTS}")
    curve = []
    for i in range(points):
        t = i / (points - 1)
        nats = float(loss(t))
        curve.append((t, math.inf if math.isnan(nats) else nats))
    first, last = curve[0][1], curve[-1][1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return LossBarrier(tuple(curve), math.inf, math.inf)
    rise = max(nats - (1 - t) * first - t * last for t, nats in curve)
    return LossBarrier(tuple(curve), max(0.0, rise), max(nats for _, nats in curve) - (first + last) / 2)
