"""The workbench of an audit: opened models, settings, tasks, costs, finished rows."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.audit.bench import cost
    from mergebarrier.audit.bench.blend import Blend, Pair, from_coarse_to_fine, spread
    from mergebarrier.audit.bench.candidate import OTHER_SHAPES, Candidate, reference_of
    from mergebarrier.audit.bench.declared import declared_by, figures_of, owners_figures, protection_of
    from mergebarrier.audit.bench.grading import (
        as_best,
        best_of,
        check_measurable,
        grade,
        recovery,
        scale,
    )
    from mergebarrier.audit.bench.journal import Figures, Identity, MeasurementJournal
    from mergebarrier.audit.bench.live import LiveModel
    from mergebarrier.audit.bench.meter import Work
    from mergebarrier.audit.bench.realigned import realigned, undone
    from mergebarrier.audit.bench.spec import (
        BLOCK_STEPS,
        COEFFICIENTS,
        DISTIL_SAMPLES,
        EDIT_EVALUATIONS,
        LEARN_STEPS,
        MERGES,
        REBASIN_STEPS,
        RECOVER_SAMPLES,
        SEARCH_BUDGET,
        SMOOTH_EVALUATIONS,
        AuditSpec,
        MergeSetting,
        published,
        searched,
    )
    from mergebarrier.audit.bench.tasks import OURS, TASKS, THEIRS
    from mergebarrier.audit.bench.workbench import Bench

__all__ = [
    "BLOCK_STEPS",
    "COEFFICIENTS",
    "DISTIL_SAMPLES",
    "EDIT_EVALUATIONS",
    "LEARN_STEPS",
    "MERGES",
    "OTHER_SHAPES",
    "OURS",
    "REBASIN_STEPS",
    "RECOVER_SAMPLES",
    "SEARCH_BUDGET",
    "SMOOTH_EVALUATIONS",
    "TASKS",
    "THEIRS",
    "AuditSpec",
    "Bench",
    "Blend",
    "Candidate",
    "Figures",
    "Identity",
    "LiveModel",
    "MeasurementJournal",
    "MergeSetting",
    "Pair",
    "Work",
    "as_best",
    "best_of",
    "check_measurable",
    "cost",
    "declared_by",
    "figures_of",
    "from_coarse_to_fine",
    "grade",
    "owners_figures",
    "protection_of",
    "published",
    "realigned",
    "recovery",
    "reference_of",
    "scale",
    "searched",
    "spread",
    "undone",
]

lazy.open_door(__name__)
