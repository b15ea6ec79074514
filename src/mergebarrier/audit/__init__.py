"""Merge and attack a protected model on a small grid, and report what is left of the protection.

The audit joins every other room; it does no I/O of its own and imports the heavy rooms when it runs.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.audit.bench import (
        COEFFICIENTS,
        MERGES,
        AuditSpec,
        Bench,
        MeasurementJournal,
        MergeSetting,
        published,
        searched,
    )
    from mergebarrier.audit.ladder import LEVELS, levels_from, states
    from mergebarrier.audit.options import AuditOptions
    from mergebarrier.audit.plan import planned
    from mergebarrier.audit.run import run_audit
    from mergebarrier.audit.work import SINGLE, PlannedTask, WorkPlan, file_digests, make_plan, pieces

__all__ = [
    "COEFFICIENTS",
    "LEVELS",
    "MERGES",
    "SINGLE",
    "AuditOptions",
    "AuditSpec",
    "Bench",
    "MeasurementJournal",
    "MergeSetting",
    "PlannedTask",
    "WorkPlan",
    "file_digests",
    "levels_from",
    "make_plan",
    "pieces",
    "planned",
    "published",
    "run_audit",
    "searched",
    "states",
]

lazy.open_door(__name__)
