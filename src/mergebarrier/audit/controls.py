"""Checks of the audit itself: if one fails, its figures need care, whatever the grade.

unprotected_merge          merging works without a protection (else nothing could be seen to break)
same_function              the protected model computes what the original does, within 3 times the bfloat16 noise
identity                   a model merged with itself scores as itself: the workbench adds and loses nothing
realignment_is_harmless    realigning the unprotected model changes no merge
recovered_model_is_whole   the realigned model still has its own skill
two_keys                   two keys of one model lead the attacker to the same weights
"""

from collections.abc import Mapping

from mergebarrier.audit.bench import OURS, Bench, MergeSetting, best_of, realigned
from mergebarrier.audit.ladder import Context, Found
from mergebarrier.checkpoint.bytes import ROUNDOFF
from mergebarrier.results import Control, Level, Skill, Standalone, thresholds

_NOISE = 0.02
_FLOORS = 3.0
_KEYS = 1e-3


def unprotected_merge(theirs: Found, context: Context) -> Control:
    """The best unprotected merge clears the best single model."""
    reached = context.scales.of(best_of(theirs.test, context.scales))
    return _control(
        reached,
        ">=",
        context.trivial + thresholds.MIN_MARGIN,
        "Without a protection the two models merge: the positive control.",
    )


def same_function(found: Standalone) -> Control:
    """The outputs of the protected model are those of the original."""
    return _control(
        found.bfloat16.kl_nats,
        "<=",
        _FLOORS * found.bfloat16_floor.kl_nats,
        "In bfloat16 the protected model differs from the original by no more than 3 times what bfloat16 itself does "
        "(KL, nats per token).",
    )


def identity(bench: Bench) -> Control:
    """The original merged with itself scores exactly as the original."""

    def compute() -> Mapping[str, float]:
        from mergebarrier.merge import make

        bench.fill(make("linear", weights=(0.5, 0.5)), ["original", "original"])
        return {"correct": bench.score_live(OURS).correct}

    rows = {"model": bench.digest("original"), "rows": bench.rows_id(OURS), "dtype": bench.dtype}
    merged = bench.measure("merge with itself", "original", rows, compute).figures["correct"]
    direct = bench.reference("original")[OURS]
    figure = abs((merged or 0) - direct.correct) / direct.total
    return _control(figure, "<=", 0.0, "A model merged with itself scores as itself.")


def realignment_is_harmless(bench: Bench, theirs: Found, context: Context) -> Control:
    """Realigning the unprotected model changes its best merge by no more than the noise."""
    from mergebarrier.realign import GaugeFix

    before = best_of(theirs.published, context.scales)
    realigned(bench, "original", "unprotected+gaugefix", GaugeFix(), "unprotected-gaugefix")
    setting = MergeSetting(before.merge, tuple(before.coefficients.items()))
    after = bench.cell("unprotected+gaugefix", setting, "test", level=2, attack="control")
    return _control(
        abs(context.scales.of(after) - context.scales.of(before)),
        "<=",
        max(_NOISE, _half_width(before.skill_protected), _half_width(before.skill_partner)),
        "Realigning the unprotected model changes the utility of its best merge by no more than 0.02 or half the "
        "interval: what realignment recovers is not something that it adds.",
    )


def recovered_model_is_whole(level: Level, standalone: Standalone) -> Control:
    """After realignment the model still has its own skill."""
    assert level.recovered is not None
    ours = standalone.protected
    return _control(
        abs(level.recovered.alone.skill - ours.skill),
        "<=",
        max(_NOISE, (ours.high - ours.low) / 2),
        "The realigned model alone has the skill of the protected one.",
    )


def two_keys(bench: Bench) -> Control:
    """Two keys lead to the same weights, in units of the task vector."""
    from mergebarrier.realign import GaugeFix

    assert bench.spec.second is not None
    bench.admit("second key", bench.spec.second)
    realigned(bench, "second key", "second key, realigned", GaugeFix(), "second-gaugefix")
    roles = ("gaugefix", "second key, realigned", "original", "base")

    def compute() -> Mapping[str, float]:
        apart = moved = size = 0.0
        one, two, original, base = (bench.checkpoints[role] for role in roles)
        for name in base.tensors:
            mine, yours = one.read(name).double(), two.read(name).double()
            anchor = base.read(name).double()
            apart += float((mine - yours).square().sum())
            moved += float((original.read(name).double() - anchor).square().sum())
            size += float(anchor.square().sum())
        return {"distance": (apart / moved) ** 0.5, "size": (size / moved) ** 0.5}

    figures = bench.measure(
        "distance", "two keys after realignment", {"models": [bench.digest(role) for role in roles]}, compute
    ).figures
    # Root mean square of one rounding, relative, over two models: sqrt(2) / sqrt(3) / 2 of the roundoff is below half.
    worst = max(ROUNDOFF.get(info.dtype, 0.0) / 2 for info in bench.checkpoints["gaugefix"].tensors.values())
    return _control(
        float(figures["distance"] or 0.0),
        "<=",
        max(_KEYS, worst * float(figures["size"] or 0.0)),
        "Two keys lead the attacker to the same weights: distance over the length of the task vector, at most 0.001 or "
        "one rounding of the stored numbers.",
    )


def _control(figure: float, relation: str, bound: float, says: str) -> Control:
    if relation == "<=":
        return Control(passed=figure <= bound, figure=figure, relation="<=", bound=bound, says=says)
    return Control(passed=figure >= bound, figure=figure, relation=">=", bound=bound, says=says)


def _half_width(skill: Skill) -> float:
    return (skill.high - skill.low) / 2
