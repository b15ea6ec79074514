"""Level 0: merge the protected model as it was published, with stock tools at their published settings.

Its checks are those of the audit as a whole: without a protection merging works, the protected model is still the
original, and the workbench adds and loses nothing.
"""

from mergebarrier.audit.bench import OURS, Figures, best_of, figures_of
from mergebarrier.audit.ladder.level import Evidence, Level, at_least, at_most
from mergebarrier.audit.ladder.trained import TWIN, answers_alike, matched_control
from mergebarrier.results import Control, State, thresholds

#: In bfloat16 the protected model may differ from the original this many times as much as bfloat16 itself does.
_FLOORS = 3.0


def unprotected_merge(found: Evidence) -> Control:
    """The best unprotected merge clears the best single model, else nothing could be seen to break."""
    scales = found.context.scales
    return at_least(
        scales.of(best_of(found.unprotected.test, scales)),
        found.context.trivial + thresholds.MIN_MARGIN,
        "Without a protection the two models merge: the positive control.",
    )


def same_function(found: Evidence) -> Control | None:
    """The outputs of the protected model are those of the original; a training does not promise that."""
    if figures_of(found.bench.checkpoints["protected"]) is not None:
        return None
    return at_most(
        found.standalone.bfloat16.kl_nats,
        _FLOORS * found.standalone.bfloat16_floor.kl_nats,
        "In bfloat16 the protected model differs from the original by no more than 3 times what bfloat16 itself does "
        "(KL, nats per token).",
    )


def identity(found: Evidence) -> Control:
    """The original merged with itself scores exactly as the original."""
    bench = found.bench

    def compute() -> Figures:
        from mergebarrier.merge import make

        bench.fill(make("linear", weights=(0.5, 0.5)), ["original", "original"])
        return {"correct": bench.score_live(OURS).correct}

    rows = {"model": bench.digest("original"), "rows": bench.rows_id(OURS), "dtype": bench.dtype}
    merged = bench.measure("merge with itself", "original", rows, compute).figures["correct"]
    direct = bench.reference("original")[OURS]
    figure = abs((merged or 0) - direct.correct) / direct.total
    return at_most(figure, 0.0, "A model merged with itself scores as itself.")


NAIVE = Level(
    number=0,
    name="naive",
    attack="stock merging",
    word="none",
    needs="stock merge tools",
    state="protected",
    states={
        "unprotected": State(title="Unprotected", note="control: no protection"),
        "protected": State(title="Protected", note="as published, no attack"),
        TWIN: State(title="Twin", note="trained alike, without the term that protects; a control", column=False),
    },
    checks={
        "unprotected_merge": unprotected_merge,
        "same_function": same_function,
        "answers_alike": answers_alike,
        "matched_control": matched_control,
        "identity": identity,
    },
)
