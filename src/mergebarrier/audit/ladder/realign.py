"""Level 2: fix the gauge against the public base without the key, then merge and search as on the levels below.

    before any merge   realigned = gaugefix(protected, base), which computes what the protected model does

Where the file itself shows polynomials or widened layers, these are undone first; neither needs the base.

Its checks ask whether realignment only undoes: it must change no merge of the unprotected model, leave the skill of the
protected one alone, lead from two keys to the same weights, and give nothing back against a base that is another.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mergebarrier.audit.bench import AuditSpec, Bench, Figures, MergeSetting, best_of, cost, realigned, undone
from mergebarrier.audit.ladder.edits import EDITS
from mergebarrier.audit.ladder.level import Evidence, Level, at_most
from mergebarrier.audit.ladder.smooth import SMOOTH
from mergebarrier.errors import BaseMismatch
from mergebarrier.results import Control, Skill, State

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture
    from mergebarrier.realign import Fitted, ParallelMap

_STATE, _CONTROL, _ASTRAY = "gaugefix", "unprotected+gaugefix", "another base"
_NOISE = 0.02
_KEYS = 1e-3
_ELSEWHERE = 0.1


def prepare(bench: Bench) -> float:
    """Realign the protected model to the base."""
    return undone(bench, "protected", _STATE, "gaugefix")


def go_on(
    bench: Bench, state: str, asked: object, fit: "Callable[[Architecture, Checkpoint, Checkpoint], Fitted]"
) -> float:
    """Realign, then change the result once more by what only a bench can fit, and open that as ``state``.

    ``asked`` is a frozen dataclass with all of a ``Realignment`` but its ``fit``: what the result depends on.
    """
    seconds = prepare(bench)

    def fitted(
        self: object, architecture: "Architecture", model: "Checkpoint", anchor: "Checkpoint", *,
        parallel: "ParallelMap" = map,
    ) -> "Fitted":  # fmt: skip
        return fit(architecture, model, anchor)

    made = type(type(asked).__name__, (type(asked),), {"fit": fitted})
    # What a bench fits looks at models of its own, wherever they run.
    return seconds + realigned(bench, _STATE, state, made(**vars(asked)), state, device="cpu")


def flops(bench: Bench) -> int:
    """Estimate the arithmetic of one realignment."""
    from mergebarrier.circuits import describe

    return cost.realign_flops(describe(bench.checkpoints["base"]).dims, bench.n_weights)


def flops_with(tokens: Callable[[Bench], int]) -> Callable[[Bench], int]:
    """Return what estimates the arithmetic of one realignment and of a learning from so many tokens."""
    return lambda bench: flops(bench) + cost.learning_flops(bench.n_weights, tokens(bench))


def once(spec: AuditSpec) -> int:
    """Count one realignment, of the protected model."""
    return 1


def realignments(spec: AuditSpec) -> int:
    """Count the protected model, the unprotected one as a control, that with another key, and to another base."""
    return 2 + (spec.second is not None) + (spec.wrong_base is not None)


def recovered_model_is_whole(found: Evidence) -> Control | None:
    """After realignment the model still has its own skill."""
    if found.level.recovered is None:
        return None
    ours = found.standalone.protected
    return at_most(
        abs(found.level.recovered.alone.skill - ours.skill),
        max(_NOISE, (ours.high - ours.low) / 2),
        "The realigned model alone has the skill of the protected one.",
    )


def realignment_is_harmless(found: Evidence) -> Control:
    """Realigning the unprotected model changes its best merge by no more than the noise."""
    from mergebarrier.realign import GaugeFix

    bench, scales = found.bench, found.context.scales
    before = best_of(found.unprotected.published, scales)
    realigned(bench, "original", _CONTROL, GaugeFix(), "unprotected-gaugefix")
    setting = MergeSetting(before.merge, tuple(before.coefficients.items()))
    after = bench.cell(_CONTROL, setting, "test", level=2, attack="control")
    return at_most(
        abs(scales.of(after) - scales.of(before)),
        max(_NOISE, _half_width(before.skill_protected), _half_width(before.skill_partner)),
        "Realigning the unprotected model changes the utility of its best merge by no more than 0.02 or half the "
        "interval: what realignment recovers is not something that it adds.",
    )


def another_base_fails(found: Evidence) -> Control | None:
    """Realigned to a base that is not the expert's, the model merges no better than it did; or that is refused."""
    bench, scales, trivial = found.bench, found.context.scales, found.context.trivial
    if bench.spec.wrong_base is None:
        return None
    bench.admit("wrong base", bench.spec.wrong_base)
    before = best_of(found.unprotected.published, scales)
    try:
        undone(bench, "protected", _ASTRAY, "another-base", anchor="wrong base")
    except BaseMismatch:
        reached = trivial
    else:
        setting = MergeSetting(before.merge, tuple(before.coefficients.items()))
        reached = scales.of(bench.cell(_ASTRAY, setting, "test", level=2, attack="control"))
    return at_most(
        max(0.0, (reached - trivial) / (scales.of(before) - trivial)),
        _ELSEWHERE,
        "Realigned to a base that is another one's, the protected model does not merge: what gives the merge back is "
        "the base that both experts share.",
    )


def two_keys(found: Evidence) -> Control | None:
    """Two keys lead to the same weights, in units of the task vector."""
    from mergebarrier.checkpoint.bytes import ROUNDOFF

    bench = found.bench
    if bench.spec.second is None:
        return None
    bench.admit("second key", bench.spec.second)
    undone(bench, "second key", "second key, realigned", "second-gaugefix")
    roles = (_STATE, "second key, realigned", "original", "base")

    def compute() -> Figures:
        apart = moved = size = missed = 0.0
        one, two, original, base = (bench.checkpoints[role] for role in roles)
        for name in base.tensors:
            mine, yours = one.read(name).double(), two.read(name).double()
            anchor = base.read(name).double()
            apart += float((mine - yours).square().sum())
            owned = original.read(name).double()
            missed += float((mine - owned).square().sum())
            moved += float((owned - anchor).square().sum())
            size += float(anchor.square().sum())
        found = {"distance": apart, "size": size, "missed": missed}
        return {name: (square / moved) ** 0.5 for name, square in found.items()}

    figures = bench.measure(
        "distance", "two keys after realignment", {"models": [bench.digest(role) for role in roles]}, compute
    ).figures
    # What comes back to the last bit was never rounded, and has no such excuse.  Otherwise two copies differ by two
    # roundings, in the root mean square sqrt(2) / sqrt(3) / 2 of the roundoff, which is below half.
    rounded = figures.get("missed") != 0.0
    worst = rounded * max(ROUNDOFF.get(info.dtype, 0.0) / 2 for info in bench.checkpoints[_STATE].tensors.values())
    return at_most(
        float(figures["distance"] or 0.0),
        max(_KEYS, worst * float(figures["size"] or 0.0)),
        "Two keys lead the attacker to the same weights: distance over the length of the task vector, at most 0.001 or "
        "one rounding of the stored numbers where they are rounded.",
    )


def _half_width(skill: Skill) -> float:
    return (skill.high - skill.low) / 2


REALIGN = Level(
    number=2,
    name="realign",
    attack="gaugefix",
    word="gaugefix",
    needs="the public base",
    state=_STATE,
    states={
        _STATE: State(title="After gaugefix", note="realigned to the public base"),
        _ASTRAY: State(title="Realigned to another base", note="a control of the audit", column=False),
        _CONTROL: State(title="Unprotected, after gaugefix", note="a control of the audit", column=False),
    },
    prepare=prepare,
    preserves_function=True,
    searches=True,
    tuners=(SMOOTH, *EDITS),
    cost=flops,
    realignments=realignments,
    checks={
        "recovered_model_is_whole": recovered_model_is_whole,
        "realignment_is_harmless": realignment_is_harmless,
        "two_keys": two_keys,
        "another_base_fails": another_base_fails,
    },
)
