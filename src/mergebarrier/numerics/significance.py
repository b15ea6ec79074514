"""Several tests at once: the chance that any of them is small by accident.

    adjusted_(k) = max over j <= k of min(1, (m - j + 1) p_(j)),   p_(1) <= ... <= p_(m)

Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65.  Differs: nothing.
"""

from collections.abc import Sequence


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
