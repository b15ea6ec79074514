"""What several reports draw with."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.report.base import svg

__all__ = [
    "svg",
]

doors.open_lazily(__name__)
