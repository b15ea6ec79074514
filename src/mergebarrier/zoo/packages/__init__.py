"""Raw bytes from packages: where they come from, how an archive is read, where the result is kept."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.zoo.packages import sources
    from mergebarrier.zoo.packages.cache import make_once, place_of

__all__ = [
    "make_once",
    "place_of",
    "sources",
]

lazy.open_door(__name__)
