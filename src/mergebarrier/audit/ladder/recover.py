"""Level 6: fine-tune the best merge on rows of the attacker's own, taught by the published models themselves.

    student = W0 + a tau_P + b tau_O at the best two coefficients
    minimise by low-rank adapters   KL(P || student) on rows of one task  +  KL(O || student) on those of the other

Nobody's labels are needed where a teacher answers, so a broken merge is only a start that is better than none.  Source:
distillation, arXiv 1503.02531, from two teachers at once.  Beside it, and not graded, stands what the same number of
samples gives whoever trains the public base on the right answers: an attacker who pays more than that has gained
nothing from the protected model.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mergebarrier.audit.bench import TASKS, AuditSpec, Bench, Blend, MergeSetting, Pair, spread
from mergebarrier.audit.ladder.learn import LEARN
from mergebarrier.audit.ladder.level import Level, LevelContext
from mergebarrier.audit.ladder.teachers import ROWS, Teachers
from mergebarrier.audit.ladder.tuner import Tuner
from mergebarrier.results import State

if TYPE_CHECKING:
    from torch import Tensor

#: Samples that are tried; an audit grants those up to its own bound.
SAMPLES = (100, 1000, 10000)
_RATE, _RANK, _WARMUP = 1e-3, 16, 5
_BASE: Pair = (0.0, 0.0)


def taught(blend: Blend, bench: Bench, start: Pair, samples: int) -> Mapping[str, Pair]:
    """Train the mix at ``start`` on what both experts answer; the better of start and end is left in the module."""
    return trained(blend, bench, start, samples, Teachers(blend, bench).loss)


def from_base(blend: Blend, bench: Bench, start: Pair, samples: int) -> Mapping[str, Pair]:
    """Train the base on the right answers: what the samples give without any expert."""
    del start

    def loss(task: str, chosen: Sequence[int]) -> "Tensor":
        rows = bench.rows(task, "validation")
        return bench.live.answer_loss([rows[i] for i in chosen])

    return trained(blend, bench, _BASE, samples, loss)


def trained(
    blend: Blend, bench: Bench, start: Pair, samples: int, loss: "Callable[[str, Sequence[int]], Tensor]"
) -> Mapping[str, Pair]:
    """Minimise the sum of a loss over both tasks from a start; leave the better of start and end in the module.

    Args:
      blend:   of the cell.
      bench:   holds rows and module.
      start:   coefficients of every tensor before the training.
      samples: rows that the training sees, each as often as it is drawn.
      loss:    task, places of rows -> loss with a graph.
    Returns: the coefficients of the start.
    """
    from mergebarrier.training import LoraRecipe, batches, linears_of, train_adapters

    here, module = spread(start, blend.names), bench.live.module
    blend.write(here)
    before = bench.validation_loss()
    drawn = {
        task: batches(len(bench.rows(task, "validation")), ROWS, seed=bench.spec.seed, label=f"recover|{task}")
        for task in TASKS
    }

    def both(step: int) -> "Tensor":
        del step
        ours, theirs = (loss(task, next(drawn[task]).tolist()) for task in TASKS)
        return ours + theirs

    recipe = LoraRecipe(
        rank=_RANK,
        alpha=2.0 * _RANK,
        targets=linears_of(module),
        learning_rate=_RATE,
        warmup_steps=_WARMUP,
        steps=steps_of(samples),
        seed=bench.spec.seed,
    )
    train_adapters(module, recipe, both)
    if not bench.validation_loss() <= before:
        blend.write(here)
    return here


def steps_of(samples: int) -> int:
    """Return the updates that so many rows take."""
    return max(1, math.ceil(samples / (len(TASKS) * ROWS)))


def _granted(samples: int, spec: AuditSpec) -> int:
    """Return the samples where an audit runs level 6 and grants as many, else 0."""
    return samples if 6 in spec.levels and samples <= spec.recover_samples else 0


def no_settings(bench: Bench, context: LevelContext) -> Sequence[MergeSetting]:
    """Return no merge."""
    return ()


RECOVER: Level = replace(
    LEARN,
    number=6,
    name="recover",
    attack="gaugefix, then fine-tuning of the best merge",
    word="recover",
    needs="the public base, rows of both tasks, and a training run",
    on_request=True,
    tuners=(
        *LEARN.tuners,
        *(
            Tuner(name=f"recover-{n}", budget=partial(_granted, n), search=taught, looks=lambda n: 3, rows_learned=int)
            for n in SAMPLES
        ),
    ),
)

HONEST = Level(
    number=6,
    name="honest",
    attack="fine-tuning of the base on the same rows, without the protected model",
    word="honest",
    needs="the public base, rows of both tasks with their answers, and a training run",
    state="base",
    states={"base": State(title="Base", note="trained without the experts", column=False)},
    settings=no_settings,
    searches=False,
    own_ceiling=False,
    gradients=True,
    tuners=tuple(
        Tuner(name=f"honest-{n}", budget=partial(_granted, n), search=from_base, looks=lambda n: 2, rows_learned=int)
        for n in SAMPLES
    ),
)
