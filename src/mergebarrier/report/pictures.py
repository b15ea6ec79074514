"""Two pictures of an audit: what merges keep of both skills, and what each level recovers for its price.

    front of a state = its merges that no other merge of it beats in both skills
    price            = log10 of the estimated arithmetic of an attack, RUF above it

Everything in them is also said in words elsewhere on the page: in the table of merges, and on the ladder.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mergebarrier.errors import clean
from mergebarrier.report.base import svg
from mergebarrier.report.heat import title
from mergebarrier.results import Cell, LevelResult, Result

#: What a number and the space around it take, in the units of a drawing.
_ROOM = 16.0
_TENTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Front:
    """The merges of one state that are not beaten: its name, its mark, its line; and the rest as dots."""

    name: str
    mark: str
    drawn: svg.Drawn
    others: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class PricePoint:
    """One level: where it stands, and the number that is printed beside it."""

    x: float
    y: float
    number: str
    says: str


@dataclass(frozen=True, kw_only=True)
class PriceLabel:
    """The numbers of levels that lie side by side, and where they are printed."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Prices:
    """All levels on one frame, and their numbers: of levels that lie side by side in one label."""

    frame: svg.Axes
    points: tuple[PricePoint, ...]
    labels: tuple[PriceLabel, ...]


def share_axes(x_ticks: tuple[svg.Tick, ...] | None = None) -> svg.Axes:
    """Return axes on which the upward one is a share, from 0 to 1; the other too, where no ticks are given."""
    across = tuple(svg.Tick(svg.across(part), f"{part:g}") for part in _TENTHS)
    return svg.Axes(1.0, x_ticks or across, tuple(svg.Tick(svg.upward(part, 1.0), f"{part:g}") for part in _TENTHS))


def fronts(cells: Sequence[Cell], result: Result) -> tuple[Front, ...]:
    """Return a front per state that has a column in the table of merges, the unprotected one first."""
    frame, found = share_axes(), []
    states = [state for state, about in result.states.items() if about.column]
    marks = dict(zip(states, ("○", "×", "■", "▲", "◆", "●", "□", "△"), strict=False))
    for state, mark in marks.items():
        here = sorted({(c.skill_protected.rate, c.skill_partner.rate) for c in cells if c.state == state})
        if here:
            best = front(here)
            others = tuple(svg.draw([one], frame).dots[0] for one in here if one not in best)
            found.append(Front(name=title(state, result), mark=mark, drawn=svg.draw(best, frame), others=others))
    return tuple(found)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both coordinates, from left to right."""
    kept: list[tuple[float, float]] = []
    for one in sorted(set(points), reverse=True):
        if not kept or one[1] > kept[-1][1]:
            kept.append(one)
    return kept[::-1]


def prices(result: Result) -> Prices:
    """Place every graded level by its arithmetic, on a scale of powers of ten."""
    powers = [math.log10(max(1, level.flops)) for level in result.levels]
    low, high = math.floor(min(powers)), max(math.floor(min(powers)) + 1, math.ceil(max(powers)))
    step = max(1, (high - low) // 5)

    def across(power: float) -> float:
        return svg.across((power - low) / (high - low))

    ticks = tuple(svg.Tick(across(power), f"1e{power}") for power in range(low, high + 1, step))
    points = (
        PricePoint(
            x=across(power),
            y=svg.upward(level.ruf, 1.0),
            number=str(level.level),
            says=_says(level, power),
        )
        for level, power in zip(result.levels, powers, strict=True)
    )
    frame, found = share_axes(ticks), tuple(points)
    groups = side_by_side(found)
    return Prices(
        frame=frame,
        points=found,
        labels=tuple(
            PriceLabel(
                x=min(round(sum(point.x for point in group) / len(group), 1), svg.WIDTH - 4.0 * len(group) - 16.0),
                y=min(point.y for point in group),
                text=", ".join(point.number for point in group),
            )
            for group in groups
        ),
    )


def side_by_side(points: Sequence[PricePoint]) -> list[list[PricePoint]]:
    """Group points whose numbers would stand upon each other; within a group by their numbers."""
    groups: list[list[PricePoint]] = []
    for point in sorted(points, key=lambda one: one.x):
        near = (one for one in groups if point.x - one[-1].x < _ROOM and abs(point.y - one[-1].y) < _ROOM)
        group = next(near, None)
        if group is None:
            groups.append([point])
        else:
            group.append(point)
    return [sorted(group, key=lambda one: int(one.number)) for group in groups]


def _says(level: LevelResult, power: float) -> str:
    return f"level {level.level}, {clean(level.attack)}: RUF {level.ruf:.2f} for 1e{power:.1f} FLOP"
