"""Engines that measure the rows of an audit side by side: processes here, actors of Ray, workers anywhere."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.engines.crew import ATTEMPTS, Hand, perform_all
    from mergebarrier.engines.engine import PLAN, performed, prepared
    from mergebarrier.engines.perform import Performer
    from mergebarrier.engines.plan_file import read_plan
    from mergebarrier.engines.rows import TASKS, finished_rows

__all__ = [
    "ATTEMPTS",
    "PLAN",
    "TASKS",
    "Hand",
    "Performer",
    "finished_rows",
    "perform_all",
    "performed",
    "prepared",
    "read_plan",
]

lazy.open_door(__name__)
