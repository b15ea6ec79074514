"""Barrier curves as positions in a small drawing; the template writes the SVG, so no text is ever pasted together.

x = left + width * t,    y = bottom - height * loss / top,    top = the next round number above every loss
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 376, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 368, 14, 200

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, with its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Drawn:
    """A curve: corner points as SVG wants them, dots, and where its label goes."""

    line: str
    dots: tuple[tuple[float, float], ...]
    peak: tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """The frame that panels share, so that heights may be compared by eye."""

    top: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: int = _LEFT
    right: int = _RIGHT
    above: int = _TOP
    below: int = _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def axes(curves: Sequence[Points]) -> Axes:
    """Return axes that hold every curve; losses are nats, t runs from 0 to 1."""
    highest = max((loss for points in curves for _, loss in points), default=1.0)
    top = _round_up(max(highest, 1e-3))
    return Axes(
        top,
        tuple(Tick(round(_x(t), 1), f"{t:g}") for t in (0.0, 0.25, 0.5, 0.75, 1.0)),
        tuple(Tick(round(_y(top * part, top), 1), f"{top * part:g}") for part in (0.0, 0.25, 0.5, 0.75, 1.0)),
    )


def draw(points: Points, frame: Axes) -> Drawn:
    """Place one curve."""
    dots = tuple((round(_x(t), 1), round(_y(loss, frame.top), 1)) for t, loss in points)
    peak = min(dots, key=lambda dot: dot[1], default=(0.0, 0.0))
    return Drawn(" ".join(f"{x},{y}" for x, y in dots), dots, peak)


def across(t: float) -> float:
    """Return where a share of the width stands."""
    return round(_x(t), 1)


def upward(value: float, top: float) -> float:
    """Return where a value below ``top`` stands."""
    return round(_y(value, top), 1)


def _x(t: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * min(1.0, max(0.0, t))


def _y(loss: float, top: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * min(1.0, max(0.0, loss / top))


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value * 1.0001 or step == 10)
