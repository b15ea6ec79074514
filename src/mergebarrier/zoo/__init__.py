"""Real models and data that ship inside packages, and the experts made from them; nothing downloads unless asked to."""

from mergebarrier.zoo._assets import Asset, Package
from mergebarrier.zoo._cache import cache_folder
from mergebarrier.zoo._catalogue import ASSETS
from mergebarrier.zoo._vision_bench import VisionBench, expert, vision_bench
from mergebarrier.zoo._zoo import DemoAssets, Entry, TaskPaths, demo_assets, fetch, list_assets, path

__all__ = [
    "ASSETS",
    "Asset",
    "DemoAssets",
    "Entry",
    "Package",
    "TaskPaths",
    "VisionBench",
    "cache_folder",
    "demo_assets",
    "expert",
    "fetch",
    "list_assets",
    "path",
    "vision_bench",
]
