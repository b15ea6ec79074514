"""What use does to a model: storage formats of weights, and of what attention remembers."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.evaluate.stress.formats import FORMATS, Format
    from mergebarrier.evaluate.stress.rounding import round_weights, rounded_cache

__all__ = ["FORMATS", "Format", "round_weights", "rounded_cache"]

lazy.open_door(__name__)
