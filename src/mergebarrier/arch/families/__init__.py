"""One declarative table per model family: which tensor has which axes, and what may act on them."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.arch.families.registry import FAMILIES

__all__ = [
    "FAMILIES",
]

doors.open_lazily(__name__)
