"""The small image bench: letters drawn as pictures, a base, tasks, digits."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.zoo.glyphs import glyph_file, glyph_tasks
    from mergebarrier.zoo.glyphs.glyph_file import NAMES_FILE
    from mergebarrier.zoo.glyphs.glyphs import ALPHABETS, class_names, draw
    from mergebarrier.zoo.glyphs.image_catalogue import FULL_TASKS, GLYPH_FILE, GLYPH_RECIPE, IMAGE_ASSETS, SMALL_TASKS

__all__ = [
    "ALPHABETS",
    "FULL_TASKS",
    "GLYPH_FILE",
    "GLYPH_RECIPE",
    "IMAGE_ASSETS",
    "NAMES_FILE",
    "SMALL_TASKS",
    "class_names",
    "draw",
    "glyph_file",
    "glyph_tasks",
]

lazy.open_door(__name__)
