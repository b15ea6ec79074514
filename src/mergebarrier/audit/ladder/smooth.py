"""Black-box search over the coefficients of single parts: whoever can score a merge can also move it part by part.

    minimise over (a_u, b_u):   mean over both tasks of the loss on the right answers of validation rows

Groups of parts are tried from coarse to fine: moved by a step that halves after every round, or taken wholly from one
expert, from the base or from both.  The loss is smooth where exact match is flat; a search that climbs exact match
alone makes a trap look strong, because it never leaves the plateau.
"""

import math
from collections.abc import Callable, Mapping

from mergebarrier.audit.bench import Bench, Blend, Pair, from_coarse_to_fine, spread
from mergebarrier.audit.ladder.tuner import Tuner

_WHOLE: tuple[Pair, ...] = ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0))
_FIRST_STEP, _LAST_STEP = 0.3, 0.02
_LOWEST, _HIGHEST = -0.5, 1.5


def smooth(blend: Blend, loss: Callable[[], float], start: Pair, evaluations: int) -> dict[str, Pair]:
    """Search.

    Args:
      blend:       the models; holds the best mix when this returns.
      loss:        of what is in the module now; NaN counts as infinite.
      start:       coefficients of every part, the best that a search over two numbers found.
      evaluations: of the loss, at least one.
    Returns: tensor -> its coefficients.
    """
    here = spread(start, blend.parts)
    best = _value(blend, loss, here)
    left, step = evaluations - 1, _FIRST_STEP
    groups = from_coarse_to_fine(tuple(blend.parts))
    while left > 0 and step >= _LAST_STEP:
        for group in groups:
            for move in _moves(step, absolute=step == _FIRST_STEP):
                tried = {part: move(here[part]) for part in group}
                if left <= 0 or all(tried[part] == here[part] for part in group):
                    continue
                left -= 1
                value = _value(blend, loss, tried)
                if value < best:
                    best, here = value, here | tried
                else:
                    _write(blend, {part: here[part] for part in group})
        step /= 2
    return {name: here[part] for part, names in blend.parts.items() for name in names}


def _moves(step: float, *, absolute: bool) -> list[Callable[[Pair], Pair]]:
    """Return what may be done to a pair: a step either way, and in the first round a whole value."""

    def by(ours: float, theirs: float) -> Callable[[Pair], Pair]:
        return lambda pair: (_within(pair[0] + ours), _within(pair[1] + theirs))

    steps = [by(*pair) for pair in ((0, step), (0, -step), (step, 0), (-step, 0))]
    return [*steps, *((lambda pair, whole=whole: whole) for whole in _WHOLE if absolute)]


def _within(value: float) -> float:
    return min(_HIGHEST, max(_LOWEST, round(value, 6)))


def _value(blend: Blend, loss: Callable[[], float], changed: Mapping[str, Pair]) -> float:
    _write(blend, changed)
    found = loss()
    return math.inf if math.isnan(found) else found


def _write(blend: Blend, changed: Mapping[str, Pair]) -> None:
    for part, pair in changed.items():
        blend.write(spread(pair, blend.parts[part]))


def search(blend: Blend, bench: Bench, start: Pair, evaluations: int) -> Mapping[str, Pair]:
    """Search by the loss of the bench on validation rows."""
    return smooth(blend, bench.validation_loss, start, evaluations)


SMOOTH = Tuner(name="smooth", budget=lambda spec: spec.smooth_evaluations, search=search)
