"""Level 3: learn one coefficient per tensor and parent by gradient, on the model that realignment gave back.

    minimise over (a_t, b_t) by Adam:   loss of both tasks on validation rows,   W_t = W0_t + a_t tau_P,t + b_t tau_O,t

Source: AdaMerging, arXiv 2310.02575.  Differs: the loss is that of the right answers, not an entropy, so that what it
reaches is an upper bound for attackers who tune coefficients; and it starts from the best two coefficients.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from mergebarrier.audit.bench import TASKS, AuditSpec, Bench, Blend, Pair
from mergebarrier.audit.ladder.edits import PROJECTION
from mergebarrier.audit.ladder.level import Level, no_realignment
from mergebarrier.audit.ladder.realign import REALIGN
from mergebarrier.audit.ladder.tuner import Tuner

_RATE = 0.05
#: Rows of each task behind one gradient.
_ROWS = 8


def learn(
    blend: Blend, descend: Callable[[int], None], loss: Callable[[], float], start: Pair, steps: int
) -> dict[str, Pair]:
    """Learn the coefficients of any models that one module can hold, of language or of images.

    Args:
      blend:   the models; holds the best mix when this returns.
      descend: (step) -> None, adds the gradient of a batch to the module's.
      loss:    of what is in the module now, to choose among the start, the middle and the end by.
      start:   coefficients of every tensor.
      steps:   of Adam.
    Returns: tensor -> its coefficients.
    """
    import torch

    names = blend.names
    weights = torch.tensor(start).repeat(len(names), 1).requires_grad_()
    optimiser = torch.optim.Adam([weights], lr=_RATE)
    tried = {}
    for step in range(steps + 1):
        pairs = {name: (ours, theirs) for name, (ours, theirs) in zip(names, weights.tolist(), strict=True)}
        blend.write(pairs)
        if step in (0, steps // 2, steps):
            tried[loss()] = pairs
        if step < steps:
            descend(step)
            weights.grad = blend.slopes()
            optimiser.step()
    best = tried[min(tried)]
    blend.write(best)
    return best


def search(blend: Blend, bench: Bench, start: Pair, steps: int) -> Mapping[str, Pair]:
    """Learn on the validation rows of both tasks."""

    def descend(step: int) -> None:
        for task in TASKS:
            rows = bench.rows(task, "validation")
            bench.live.descend([rows[(step * _ROWS + i) % len(rows)] for i in range(min(_ROWS, len(rows)))])

    return learn(blend, descend, bench.validation_loss, start, steps)


def budget(spec: AuditSpec) -> int:
    """Return the steps that an audit grants where it runs this level."""
    return spec.learn_steps if 3 in spec.levels else 0


BY_GRADIENT = Tuner(
    name="learn",
    budget=budget,
    search=search,
    looks=lambda steps: 3,
    rows_learned=lambda steps: 2 * _ROWS * steps,
    passes=lambda steps: 2 * steps,
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
