"""JSON Schemas: of every document that ``--json`` prints, of the manifest, and of the files of a report."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.schemas.shipped import names, text

__all__ = [
    "names",
    "text",
]

lazy.open_door(__name__)
