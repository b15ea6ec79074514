"""The front door: a plain function per verb, over names of models, that returns a typed report.

Each file opens what it is given, calls the rooms below and says what came out; the command line parses, calls this and
prints.  ``import mergebarrier`` offers these functions.
"""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.api.base import Model, Report, WriteOptions
    from mergebarrier.api.cleanse import CleanseReport, CleanseRequest, check_cleanse, cleanse
    from mergebarrier.api.evaluate import EvaluationReport, evaluate
    from mergebarrier.api.scan import DEFAULT_CHECKS, ScanReport, scan
    from mergebarrier.api.verify import VerifyReport, verify

__all__ = [
    "DEFAULT_CHECKS",
    "CleanseReport",
    "CleanseRequest",
    "EvaluationReport",
    "Model",
    "Report",
    "ScanReport",
    "VerifyReport",
    "WriteOptions",
    "check_cleanse",
    "cleanse",
    "evaluate",
    "scan",
    "verify",
]

doors.open_lazily(__name__)
