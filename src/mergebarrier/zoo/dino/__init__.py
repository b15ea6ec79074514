"""The larger image bench: an encoder of the shape of DINOv2 and four tasks."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.zoo.dino import dino_tasks, dinov2, grey_pictures
    from mergebarrier.zoo.dino.dino_catalogue import DINO_ASSETS, DINO_BLOCKS, DINO_RECIPE, DINO_TASKS

__all__ = [
    "DINO_ASSETS",
    "DINO_BLOCKS",
    "DINO_RECIPE",
    "DINO_TASKS",
    "dino_tasks",
    "dinov2",
    "grey_pictures",
]

lazy.open_door(__name__)
