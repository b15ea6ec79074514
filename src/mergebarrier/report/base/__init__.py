"""What several reports draw with."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.report.base import svg

__all__ = [
    "svg",
]

lazy.open_door(__name__)
