"""Several tests at once: the chance that any of them is small by accident.

    adjusted_(k) = max over j <= k of min(1, (m - j + 1) p_(j)),   p_(1) <= ... <= p_(m)
    least of k independent tests: 1 - (1 - p_(1))^k, uniform where they are

Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65; Sidak, JASA 62 (1967) 626.  Differs: nothing.
"""

import math
from collections.abc import Sequence
from typing import Final

#: No p is stated below it where nothing was counted: there it is the tail of a fitted curve, and whether that holds so
#: far out nobody has seen.
LEAST_TAIL: Final = 1e-6


def stated(p: float) -> float:
    """Return p of the tail of a fitted curve as it may be stated: a bound where it is smaller than can be known.

    Example: >>> stated(1.6e-29), stated(0.02)
             (1e-06, 0.02)
    """
    return max(p, LEAST_TAIL)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down procedure.

    Example: >>> holm([0.01, 0.5, 0.02])
             [0.03, 0.5, 0.04]
    """
    order = sorted(range(len(ps)), key=lambda place: ps[place])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted


def least_of(ps: Sequence[float], count: int) -> float:
    """Return p of the least of ``count`` independent tests, 1 - (1 - min)^count, where the rest were not needed.

    Example: >>> round(least_of([0.01, 0.5, 0.02], 3), 6)
             0.029701
    """
    least = min([1.0, *ps])
    return 1.0 if least >= 1.0 else -math.expm1(count * math.log1p(-least))
