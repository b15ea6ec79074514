"""Kinds of adapters beside LoRA, one per file, each a line of ``KINDS``."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.checkpoint.adapter.kinds.kind import LAYERS, MODULES, Kind, Update
    from mergebarrier.checkpoint.adapter.kinds.registry import KINDS

__all__ = ["KINDS", "LAYERS", "MODULES", "Kind", "Update"]

lazy.open_door(__name__)
