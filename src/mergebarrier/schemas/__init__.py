"""JSON Schemas: of every document that ``--json`` prints, of the manifest, and of the files of a report."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.schemas.shipped import names, text

__all__ = [
    "names",
    "text",
]

doors.open_lazily(__name__)
