"""Level 8: train every weight of the best merge on what both published models answer, the ceiling of all attacks.

    minimise over W, from W0 + a tau_P + b tau_O:    KL(P || W) on rows of one task + KL(O || W) on those of the other

Teachers are asked and not opened, so nothing that is done to weights can stop it; what it costs is its only defence.
Source: distillation, arXiv 1503.02531.  Run small here; ``price`` says what it costs in full.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mergebarrier.audit.bench import TASKS, AuditSpec, Bench, Blend, Pair, spread
from mergebarrier.audit.ladder.level import Level
from mergebarrier.audit.ladder.recover import RECOVER
from mergebarrier.audit.ladder.teachers import ROWS, Teachers
from mergebarrier.audit.ladder.tuner import Tuner

if TYPE_CHECKING:
    from torch import Tensor, nn

_RATE, _WARMUP = 2e-4, 5


def distilled(blend: Blend, bench: Bench, start: Pair, samples: int) -> Mapping[str, Pair]:
    """Train the mix at ``start``; the better of start and end is left in the module."""
    from mergebarrier.training import FullRecipe, batches, train_full

    here, teachers = spread(start, blend.names), Teachers(blend, bench)
    drawn = {
        task: batches(len(bench.rows(task, "validation")), ROWS, seed=bench.spec.seed, label=f"distil|{task}")
        for task in TASKS
    }

    def loss(step: int) -> "Tensor":
        del step
        ours, theirs = (teachers.loss(task, next(drawn[task]).tolist()) for task in TASKS)
        return ours + theirs

    steps = max(1, math.ceil(samples / (len(TASKS) * ROWS)))
    recipe = FullRecipe(steps=steps, learning_rate=_RATE, weight_decay=0.0, warmup_steps=min(_WARMUP, steps - 1))
    blend.write(here)
    before, module = bench.validation_loss(), bench.live.module
    with _wide(module):
        train_full(module.requires_grad_(), recipe, loss)
    if not bench.validation_loss() <= before:
        blend.write(here)
    return here


@contextmanager
def _wide(module: "nn.Module") -> "Iterator[None]":
    """Hold the parameters in float32 for a while: steps are smaller than what narrower numbers tell apart."""
    before = {name: parameter.dtype for name, parameter in module.named_parameters()}
    try:
        for parameter in module.parameters():
            parameter.data = parameter.data.float()
        yield
    finally:
        for name, parameter in module.named_parameters():
            parameter.data, parameter.grad = parameter.data.to(before[name]), None


def granted(spec: AuditSpec) -> int:
    """Return the rows that an audit grants where it runs this level."""
    return spec.distil_samples if 8 in spec.levels else 0


DISTIL: Level = replace(
    RECOVER,
    number=8,
    name="distil",
    attack="gaugefix, then distillation of both experts into all weights",
    word="distil",
    needs="the public base, rows of both tasks, and a long training run",
    tuners=(
        *RECOVER.tuners,
        Tuner(name="distil", budget=granted, search=distilled, looks=lambda rows: 3, rows_learned=int),
    ),
)
