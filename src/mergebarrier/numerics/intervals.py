"""How precise a measured fraction is: the Wilson score interval, which stays inside [0, 1] and is honest for few rows.

    centre = (p + z^2 / 2n) / (1 + z^2 / n),   half = z sqrt(p (1 - p) / n + z^2 / 4 n^2) / (1 + z^2 / n)

Source: Wilson, JASA 22 (1927) 209.  Differs: nothing.
"""

import math

Z95 = 1.959964


def wilson(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Return the interval of a share.

    Args:
      correct: hits, 0 <= correct <= total.
      total:   trials, at least one.
      z:       standard normal quantile; the default gives 95 %.
    Returns: (low, high), both within [0, 1] and around correct / total.
    Raises:  ValueError for impossible counts.
    Example: >>> tuple(round(x, 3) for x in wilson(0, 40))
             (0.0, 0.088)
    """
    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"{correct} of {total} is not a share")
    share, shrink = correct / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / shrink
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / shrink
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def newcombe(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the difference of two independent shares with its interval; each is given as (share, low, high)."""
    (p1, low1, high1), (p2, low2, high2) = first, second
    difference = p1 - p2
    low, high = math.hypot(p1 - low1, high2 - p2), math.hypot(high1 - p1, p2 - low2)
    return difference, difference - low, difference + high
