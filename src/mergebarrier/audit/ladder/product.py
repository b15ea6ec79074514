"""Level 4: on the realigned model, merge heads by their products, which no error of an estimate inside a head reaches.

    M = O_g V_g, Q_g^T K_g per rotary plane:   M_0 + a (M_P - M_0) + b (M_O - M_0), factored back to the head's width

The merge is ``merge --method product_space`` at the coefficients that the search of level 1 tries; what stands
elsewhere merges as weights do.
"""

from collections.abc import Sequence
from dataclasses import replace

from mergebarrier.audit.bench import AuditSpec, MergeSetting, searched
from mergebarrier.audit.ladder.level import Level, no_realignment
from mergebarrier.audit.ladder.realign import REALIGN

_MERGE = "product_space"


def search(spec: AuditSpec) -> Sequence[MergeSetting]:
    """Return the settings of the levels below, and their coefficients in product space."""
    below = searched(spec.search_budget)
    return (*below, *dict.fromkeys(MergeSetting(_MERGE, setting.coefficients) for setting in below))


PRODUCT: Level = replace(
    REALIGN,
    number=4,
    name="product space",
    attack="gaugefix, then merging of products",
    word="product_space",
    needs="the public base, and validation rows of both tasks",
    states={},
    checks={},
    realignments=no_realignment,
    search=search,
)
