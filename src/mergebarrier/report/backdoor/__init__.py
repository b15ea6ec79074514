"""The report of a measured backdoor."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.report.backdoor import page

__all__ = [
    "page",
]

doors.open_lazily(__name__)
