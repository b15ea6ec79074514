"""What assets are, and how models and image experts of the zoo are written."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.zoo.base import image_experts
    from mergebarrier.zoo.base.assets import Asset, Package, key_of
    from mergebarrier.zoo.base.models import json_bytes, write_model

__all__ = [
    "Asset",
    "Package",
    "image_experts",
    "json_bytes",
    "key_of",
    "write_model",
]

lazy.open_door(__name__)
