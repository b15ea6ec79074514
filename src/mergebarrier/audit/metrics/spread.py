"""One figure measured with several keys, seeds or items: its mean, how sure that is, and the worst case.

    headline of an attack = mean + standard error,  SE = s / sqrt(n)     interval = 2.5 % .. 97.5 % of bootstrap means

Whoever protects is judged by the attacker's luck and not by the owner's: seeds moved the recovered fraction by a
quarter on toys, so a single run is no result.  Source: Efron's bootstrap, whole groups drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mergebarrier.results import Record

_DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Spread(Record):
    """A figure over repetitions.

    Args:
      n, mean, error:  how many, their mean, its standard error (0 for a single one).
      least, greatest: of all; for what an attacker recovers, the greatest is the worst case.
      low, high:       95 % bootstrap interval of the mean.
    """

    n: int
    mean: float
    error: float
    least: float
    greatest: float
    low: float
    high: float

    @property
    def headline(self) -> float:
        """Mean plus one standard error: what a report leads with."""
        return self.mean + self.error


def spread_of(groups: Sequence[Sequence[float]], *, seed: int = 0) -> Spread:
    """Summarise figures in groups that belong together: per key, one per seed; or per seed, one per item.

    Raises: ValueError without a figure.
    """
    every = [value for group in groups for value in group]
    if not every or not all(groups):
        raise ValueError("there is no figure, or a group without one")
    means = [sum(group) / len(group) for group in groups]
    mean = sum(means) / len(means)
    # The groups vary as wholes; a single group has nothing but what it holds.
    units = means if len(means) > 1 else every
    variance = sum((value - mean) ** 2 for value in units) / max(1, len(units) - 1)
    low, high = bootstrap(groups, seed=seed)
    return Spread(
        n=len(every),
        mean=mean,
        error=math.sqrt(variance / len(units)),
        least=min(every),
        greatest=max(every),
        low=low,
        high=high,
    )


def bootstrap(groups: Sequence[Sequence[float]], *, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of the mean of group means: groups are drawn anew, and figures within each."""
    import numpy as np

    from mergebarrier.numerics import draws

    picks = draws.below(("audit", seed, "groups"), len(groups), _DRAWS, len(groups)).numpy()
    total = np.zeros(_DRAWS)
    for place, group in enumerate(groups):
        inside = draws.below(("audit", seed, f"group|{place}"), len(group), _DRAWS, len(groups), len(group)).numpy()
        means = np.asarray(group)[inside].mean(-1)
        total += np.where(picks == place, means, 0.0).sum(-1)
    low, high = np.quantile(total / len(groups), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
