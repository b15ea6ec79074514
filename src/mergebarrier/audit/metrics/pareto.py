"""What an attacker can choose from: merges of which no other is better at both tasks, and the area that they cover.

    front = { (a, b) : no other point has a' >= a and b' >= b }      hypervolume = area of the union of [0, a] x [0, b]

a and b are skills from the base (0) to the expert (1).  One best merge hides a trade between the tasks; the area does
not: two models that merge without loss cover 1, either of them alone 0.  Source: Zitzler and Thiele, PPSN 1998.
"""

from collections.abc import Iterable

from mergebarrier.results import Cell, Scales


def front(points: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the points that no other one beats, the highest first skill first."""
    found: list[tuple[float, float]] = []
    for first, second in sorted(set(points), reverse=True):
        if not found or second > found[-1][1]:
            found.append((first, second))
    return tuple(found)


def hypervolume(points: Iterable[tuple[float, float]]) -> float:
    """Return the area between the front and (0, 0), 0 to 1 for skills."""
    area = below = 0.0
    for first, second in front(points):
        area += first * (second - below)
        below = second
    return area


def skills(cells: Iterable[Cell], scales: Scales) -> list[tuple[float, float]]:
    """Return both relative skills of every cell."""
    return [
        (scales.protected.relative(cell.skill_protected.rate), scales.partner.relative(cell.skill_partner.rate))
        for cell in cells
    ]
