"""Real models and data that ship inside packages, and experts made from them; downloads happen only on request."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.zoo.base import Asset, Package
    from mergebarrier.zoo.catalogue import ASSETS
    from mergebarrier.zoo.demo import DemoAssets, TaskPaths, demo_assets
    from mergebarrier.zoo.fetch import AssetState, fetch, list_assets, path
    from mergebarrier.zoo.rows import GENERATORS, made_rows, write_rows
    from mergebarrier.zoo.vision_bench import VisionBench, expert, vision_bench

__all__ = [
    "ASSETS",
    "GENERATORS",
    "Asset",
    "AssetState",
    "DemoAssets",
    "Package",
    "TaskPaths",
    "VisionBench",
    "demo_assets",
    "expert",
    "fetch",
    "list_assets",
    "made_rows",
    "path",
    "vision_bench",
    "write_rows",
]

lazy.open_door(__name__)
