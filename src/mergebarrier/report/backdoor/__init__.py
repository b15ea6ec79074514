"""The report of a measured backdoor."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.report.backdoor import page

__all__ = [
    "page",
]

lazy.open_door(__name__)
