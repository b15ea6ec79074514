"""One declarative table per model family: which tensor has which axes, and what may act on them."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.arch.families.registry import FAMILIES

__all__ = [
    "FAMILIES",
]

lazy.open_door(__name__)
