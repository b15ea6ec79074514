"""The published, decoupled attack with our matching, at the settings that work best without a protection.

It is shown next to level 2 and not graded: it needs the same public base, and unlike ``gaugefix`` it does not keep the
function of the model.
"""

from collections.abc import Sequence

from mergebarrier.audit.bench import AuditSpec, Bench, MergeSetting, undone
from mergebarrier.audit.ladder.climb import control
from mergebarrier.audit.ladder.level import Level, LevelContext
from mergebarrier.audit.ladder.realign import flops, once
from mergebarrier.results import Cell, State

_STATE = "aga"


def prepare(bench: Bench) -> float:
    """Realign the protected model as published, after undoing stream, head order and neurons."""
    from mergebarrier.realign import Aga

    return undone(bench, "protected", _STATE, "aga", last=Aga(matched=True))


def best_settings(bench: Bench, context: LevelContext) -> Sequence[MergeSetting]:
    """Return the best published setting of each merge of the unprotected model, the best few of these."""
    theirs = control(bench, context)
    best: dict[str, Cell] = {}
    for cell in sorted(theirs.published, key=lambda cell: -context.scales.of(cell)):
        best.setdefault(cell.merge, cell)
    kept = list(best.values())[: bench.spec.aga_settings]
    return [MergeSetting(cell.merge, tuple(cell.coefficients.items())) for cell in kept]


def asked(spec: AuditSpec) -> bool:
    """Say whether any of its settings is to be tried."""
    return spec.aga_settings > 0


AGA = Level(
    number=2,
    name="AGA",
    attack="published attack with our matching",
    word="aga",
    needs="the public base",
    state=_STATE,
    states={_STATE: State(title="After AGA", note="published attack, not graded")},
    prepare=prepare,
    settings=best_settings,
    cost=flops,
    realignments=once,
    asked=asked,
)
