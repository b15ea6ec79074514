"""Level 3: learn one coefficient per tensor and parent by gradient, on the model that realignment gave back.

    minimise over (a_t, b_t) by Adam:   loss of both tasks on validation rows,   W_t = W0_t + a_t tau_P,t + b_t tau_O,t
    from   the best two coefficients;   (1, 1);   every tensor at its own (a_t, b_t) ~ U(0, 1.2)^2

A trap bends the loss where merges of two coefficients lie, so one start is not enough: each takes a fifth of the steps,
and the one of the least loss goes on to the end.  Source: AdaMerging, arXiv 2310.02575.  Differs: the loss is that of
the right answers, not an entropy, so that what it reaches is an upper bound for attackers who tune coefficients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from mergebarrier.audit.bench import TASKS, AuditSpec, Bench, Blend, Pair, spread
from mergebarrier.audit.ladder.edits import PROJECTION
from mergebarrier.audit.ladder.level import Level, no_realignment
from mergebarrier.audit.ladder.realign import REALIGN
from mergebarrier.audit.ladder.tuner import Tuner
from mergebarrier.lazy import torch

_RATE = 0.05
#: Rows of each task behind one gradient.
_ROWS = 8
#: How many starts there are, which share of the steps each takes before one goes on, and how far the last one spreads.
STARTS: Final = 3
_TRIAL, _FARTHEST = 5, 1.2


def starts(names: Sequence[str], best: Pair, seed: int) -> list[dict[str, Pair]]:
    """Return where the descent begins: at the best of two coefficients, at both experts whole, and spread out."""
    from mergebarrier.training import uniform

    drawn = (_FARTHEST * uniform(seed, "learn", len(names), 2)).tolist()
    spread_out = {name: (ours, theirs) for name, (ours, theirs) in zip(names, drawn, strict=True)}
    return [spread(best, names), spread((1.0, 1.0), names), spread_out]


def trial(steps: int) -> int:
    """Return the steps that every start takes; 0 where there are too few to choose by: then only the first counts."""
    return steps // _TRIAL


class _Descent:
    """One start on its way down."""

    def __init__(self, blend: Blend, start: Mapping[str, Pair]) -> None:
        """Stand at the start; ``steps`` were taken."""
        self._blend, self.steps = blend, 0
        self._weights = torch.tensor([start[name] for name in blend.names]).requires_grad_()
        self._optimiser = torch.optim.Adam([self._weights], lr=_RATE)

    @property
    def pairs(self) -> dict[str, Pair]:
        """Where it is."""
        found = self._weights.tolist()
        return {name: (ours, theirs) for name, (ours, theirs) in zip(self._blend.names, found, strict=True)}

    def go(self, descend: Callable[[int], None], end: int) -> None:
        """Take the steps up to ``end``, and leave the module there."""
        for step in range(self.steps, end):
            self._blend.write(self.pairs)
            descend(step)
            self._weights.grad = self._blend.slopes()
            self._optimiser.step()
        self.steps = end
        self._blend.write(self.pairs)


def learn(
    blend: Blend,
    descend: Callable[[int], None],
    loss: Callable[[], float],
    begin: Sequence[Mapping[str, Pair]],
    steps: int,
) -> dict[str, Pair]:
    """Learn the coefficients of any models that one module can hold, of language or of images.

    Args:
      blend:   the models; holds the best mix when this returns.
      descend: (step) -> None, adds the gradient of a batch to the module's.
      loss:    of what is in the module now, to choose by among the first start, every start after its trial, and the
               middle and the end of the way of the best.
      begin:   where to start: tensor -> its coefficients.
      steps:   of Adam from the start that goes on.
    Returns: tensor -> its coefficients.
    """
    first = trial(steps)
    ways = [_Descent(blend, start) for start in begin[: len(begin) if first else 1]]
    tried: dict[float, tuple[_Descent, dict[str, Pair]]] = {}

    def look(way: _Descent, end: int) -> None:
        way.go(descend, end)
        tried.setdefault(loss(), (way, way.pairs))

    look(ways[0], 0)
    for way in ways if first else ():
        look(way, first)
    best = tried[min(tried)][0]
    for end in (steps // 2, steps):
        if end > best.steps:
            look(best, end)
    found = tried[min(tried)][1]
    blend.write(found)
    return found


def search(blend: Blend, bench: Bench, start: Pair, steps: int) -> Mapping[str, Pair]:
    """Learn on the validation rows of both tasks."""

    def descend(step: int) -> None:
        for task in TASKS:
            rows = bench.rows(task, "validation")
            bench.live.descend([rows[(step * _ROWS + i) % len(rows)] for i in range(min(_ROWS, len(rows)))])

    return learn(blend, descend, bench.validation_loss, starts(blend.names, start, bench.spec.seed), steps)


def gradients(steps: int) -> int:
    """Return all gradients that are taken, those of starts that end early among them."""
    return steps + (STARTS - 1) * trial(steps)


def budget(spec: AuditSpec) -> int:
    """Return the steps that an audit grants where it runs this level."""
    return spec.learn_steps if 3 in spec.levels else 0


BY_GRADIENT = Tuner(
    name="learn",
    budget=budget,
    search=search,
    looks=lambda steps: 3 + (STARTS if trial(steps) else 0),
    rows_learned=lambda steps: 2 * _ROWS * gradients(steps),
    passes=lambda steps: 2 * gradients(steps),
)

LEARN: Level = replace(
    REALIGN,
    number=3,
    name="learn",
    attack="gaugefix, then learned coefficients",
    word="learn",
    needs="the public base, validation rows of both tasks, and gradients",
    states={},
    checks={},
    realignments=no_realignment,
    gradients=True,
    tuners=(*REALIGN.tuners, PROJECTION, BY_GRADIENT),
)
