"""An attacker without the base: the partner, an unprotected sibling, is the anchor; shown with level 2, not graded.

    realigned = gaugefix(protected, partner),   then merges that need no base:  linear, slerp

What a base gives beyond a sibling is a second task vector between protected model and anchor, and the subtraction.
"""

from collections.abc import Sequence

from mergebarrier.audit.bench import AuditSpec, Bench, MergeSetting, published, undone
from mergebarrier.audit.ladder.level import Level, LevelContext
from mergebarrier.audit.ladder.realign import flops, once
from mergebarrier.results import State

_STATE = "sibling"
#: Merges without a base, at the middle and on either side of it.
_SETTINGS = published(("linear", "slerp"), (0.3, 0.5, 0.7))


def prepare(bench: Bench) -> float:
    """Realign the protected model to the partner."""
    return undone(bench, "protected", _STATE, _STATE, anchor="partner")


def settings(bench: Bench, context: LevelContext) -> Sequence[MergeSetting]:
    """Return what needs no base."""
    return _SETTINGS


def asked(spec: AuditSpec) -> bool:
    """Say whether the audit is asked for it."""
    return spec.sibling


SIBLING = Level(
    number=2,
    name="sibling",
    attack="gaugefix to the partner, without the base",
    word=_STATE,
    needs="an unprotected fine-tune of the same base",
    state=_STATE,
    states={_STATE: State(title="After gaugefix to a sibling", note="without the base, not graded")},
    prepare=prepare,
    preserves_function=True,
    settings=settings,
    own_ceiling=False,
    cost=flops,
    realignments=once,
    asked=asked,
)
