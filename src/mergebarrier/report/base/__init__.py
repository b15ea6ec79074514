"""What several reports draw with."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.report.base import svg
    from mergebarrier.report.base.files import fresh_name, replace_file

__all__ = [
    "fresh_name",
    "replace_file",
    "svg",
]

lazy.open_door(__name__)
