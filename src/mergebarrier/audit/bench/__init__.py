"""The workbench of an audit: opened models, settings, tasks, costs, finished rows."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.audit.bench import cost
    from mergebarrier.audit.bench.grading import (
        as_best,
        best_of,
        check_measurable,
        grade,
        recovery,
        scale,
    )
    from mergebarrier.audit.bench.realigned import realigned
    from mergebarrier.audit.bench.spec import MERGES, AuditSpec, MergeSetting, levels_from, published, searched
    from mergebarrier.audit.bench.tasks import OURS, TASKS, THEIRS
    from mergebarrier.audit.bench.workbench import Bench, Journal, reference_of

__all__ = [
    "MERGES",
    "OURS",
    "TASKS",
    "THEIRS",
    "AuditSpec",
    "Bench",
    "Journal",
    "MergeSetting",
    "as_best",
    "best_of",
    "check_measurable",
    "cost",
    "grade",
    "levels_from",
    "published",
    "realigned",
    "recovery",
    "reference_of",
    "scale",
    "searched",
]

doors.open_lazily(__name__)
