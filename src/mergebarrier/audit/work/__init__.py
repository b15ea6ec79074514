"""The work of an audit as tasks: which there are, and what each does."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.audit.work.pieces import make_plan, pieces
    from mergebarrier.audit.work.plan import SINGLE, PlannedTask, WorkPlan, file_digests

__all__ = ["SINGLE", "PlannedTask", "WorkPlan", "file_digests", "make_plan", "pieces"]

lazy.open_door(__name__)
