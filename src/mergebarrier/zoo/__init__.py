"""Real models and data that ship inside packages, and the experts made from them; nothing downloads unless asked to."""

from mergebarrier.zoo._cache import cache_folder
from mergebarrier.zoo._catalogue import ASSETS, Asset, Package
from mergebarrier.zoo._zoo import DemoAssets, Entry, TaskPaths, demo_assets, fetch, list_assets, path

__all__ = [
    "ASSETS",
    "Asset",
    "DemoAssets",
    "Entry",
    "Package",
    "TaskPaths",
    "cache_folder",
    "demo_assets",
    "fetch",
    "list_assets",
    "path",
]
