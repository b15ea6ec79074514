"""An attacker without the base who holds K public experts: their mean is the anchor; shown with level 2, not graded.

    anchor = mean of the partner and the K others = W0 + mean of their task vectors,  which K tasks average away

The protected model is realigned to that mean and merged with the partner without a base.  Source: ours, after the
observation that one sibling is an anchor already (see ``sibling``).
"""

from dataclasses import replace

from mergebarrier.audit.bench import AuditSpec, Bench, undone
from mergebarrier.audit.ladder.level import Level
from mergebarrier.audit.ladder.sibling import SIBLING
from mergebarrier.results import State

_STATE, _MEAN = "public", "mean of public experts"


def prepare(bench: Bench) -> float:
    """Realign the protected model to the mean of what is public."""
    from mergebarrier import verbs
    from mergebarrier.merge import make, plan

    out, spec = bench.spec.work / "public-mean", bench.spec
    held = [bench.checkpoints["partner"], *(bench.admit(f"public {n}", one) for n, one in enumerate(spec.publics, 1))]
    if not out.exists():
        into = verbs.OutputOptions(out, workers=spec.workers, max_ram_bytes=spec.max_ram_bytes)
        verbs.merge(verbs.whole_models(plan(make("linear"), None, held)), into, verbs.Checks(acknowledge_licence=True))
    bench.admit(_MEAN, out)
    return undone(bench, "protected", _STATE, _STATE, anchor=_MEAN)


def asked(spec: AuditSpec) -> bool:
    """Say whether the audit names public experts."""
    return bool(spec.publics)


PUBLIC: Level = replace(
    SIBLING,
    name="public experts",
    attack="gaugefix to the mean of public experts, without the base",
    word=_STATE,
    needs="several unprotected fine-tunes of the same base",
    state=_STATE,
    states={_STATE: State(title="After gaugefix to public experts", note="without the base, not graded")},
    prepare=prepare,
    asked=asked,
)
