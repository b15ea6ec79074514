"""Raw bytes from packages: where they come from, how an archive is read, where the result is kept."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.zoo.packages import sources
    from mergebarrier.zoo.packages.cache import make_once, place_of

__all__ = [
    "make_once",
    "place_of",
    "sources",
]

doors.open_lazily(__name__)
