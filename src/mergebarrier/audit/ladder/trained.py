"""Checks of protections that are trained: what the training changed elsewhere, and what it breaks without its term.

    answers_alike      share of answer tokens on the partner's prompts that the model says as the unprotected expert
    matched_control    RUF, at the published settings, of a twin that was trained alike without the protecting term

The manifest says which protections are trained.  The first takes the place of the check that the function is the same,
which a training does not promise; the second needs the twin (``protect --strength 0``): a manifest only describes it.
"""

from typing import TYPE_CHECKING

from mergebarrier.audit import metrics
from mergebarrier.audit.bench import THEIRS, Figures, figures_of, recovery
from mergebarrier.audit.ladder.level import Evidence
from mergebarrier.results import Control

if TYPE_CHECKING:
    from torch import nn

TWIN = "twin"


def answers_alike(found: Evidence) -> Control | None:
    """Say whether the protected model answers prompts of the partner's task as the expert does, without any merge."""
    bench = found.bench
    if figures_of(bench.checkpoints["protected"]) is None:
        return None
    sides = ("protected", "original")

    def module(role: str) -> "nn.Module":
        from mergebarrier.evaluate import load_module

        return load_module(bench.checkpoints[role], "float32", bench.device)

    def compute() -> Figures:
        bench.live.release()
        ours, theirs = map(module, sides)
        return {"alike": metrics.alike(ours, theirs, bench.live.tokenizer, bench.rows(THEIRS, "test"))}

    identity = {"models": [bench.digest(role) for role in sides], "rows": bench.rows_id(THEIRS)}
    measured = bench.measure("answers alike", "protected and original", identity, compute)
    return metrics.override(float(measured.figures["alike"] or 0.0))


def matched_control(found: Evidence) -> Control | None:
    """Merge the twin at every published setting, where one was given."""
    bench, context = found.bench, found.context
    if bench.spec.twin is None:
        return None
    bench.admit(TWIN, bench.spec.twin)
    cells = [bench.cell(TWIN, setting, "test", level=0, attack="control", role=TWIN) for setting in bench.spec.settings]
    reached = recovery(cells, found.unprotected.published, context.scales, context.trivial)
    return metrics.matched_control(reached.ruf)
