"""Level 1: search one coefficient per model, chosen on validation rows and reported on test rows.

The search reaches coefficient 1 for the protected expert with little of the partner, where a protection that leaves
circuits untouched merges without any further attack.
"""

from mergebarrier.audit.ladder.edits import EDITS
from mergebarrier.audit.ladder.level import Level
from mergebarrier.audit.ladder.smooth import SMOOTH

COEFFICIENTS = Level(
    number=1,
    name="coefficients",
    attack="coefficient search",
    word="coefficients",
    needs="validation rows of both tasks",
    state="protected",
    searches=True,
    tuners=(SMOOTH, *EDITS),
)
