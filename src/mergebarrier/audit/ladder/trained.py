"""Checks of protections that are trained: what the training changed elsewhere, and what it breaks without its term.

    answers_alike      share of answer tokens on the partner's prompts that the model says as the unprotected expert
    matched_control    RUF, at the published settings, of a twin that was trained alike without the protecting term

The manifest says which protections are trained.  The first takes the place of the check that the function is the same,
which a training does not promise; the second needs the twin (``protect --strength 0``): a manifest only describes it.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mergebarrier.audit import metrics
from mergebarrier.audit.bench import THEIRS, Bench, Figures, figures_of, recovery
from mergebarrier.audit.ladder.level import Evidence
from mergebarrier.audit.ladder.recover import SAMPLES, steps_of
from mergebarrier.results import Control, LevelResult

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


def trained_notes(bench: Bench, levels: Sequence[LevelResult], method: str) -> Iterator[str]:
    """Yield what a report says of a protection that is trained, or that was and is locked by ``method``; else nothing.

    The protector's work stands beside the attacker's, in the same units.
    """
    from mergebarrier.protect import TRAINED

    found = figures_of(bench.checkpoints["protected"])
    if found is None:
        return
    yield metrics.protectors_note(found["work"], levels)
    if 6 in {level.level for level in levels}:
        granted = ", ".join(f"{steps_of(n):,} for {n:,} rows" for n in SAMPLES if n <= bench.spec.recover_samples)
        yield f"Steps of an attacker's fine-tuning at level 6: {granted or 'none'}."
    if found["override"]:
        alike = " and ".join(f"{share:.3f} of {part} tokens" for part, share in found["override"].items())
        yield f"Answered as the unprotected expert does without any merge, by the manifest: {alike}."
    if method not in TRAINED:
        yield (
            f"The weights were trained, and locked by {method} afterwards. The public base takes the lock off: from "
            "level 2 on it counts for nothing, and what is left there is the training's."
        )
    if bench.spec.twin is None:
        yield (
            "The protection is trained, and no twin was given: what training alone breaks is not known. Train one with "
            "`protect --strength 0` and the same options, and give it as --twin."
        )
