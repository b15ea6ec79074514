"""Adapters of peft, and a base with one as a checkpoint of its own."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.checkpoint.adapter.adapted_checkpoint import (
        AdaptedCheckpoint,
        open_reference,
        split_reference,
    )
    from mergebarrier.checkpoint.adapter.adapter import Adapter, is_adapter, open_adapter
    from mergebarrier.checkpoint.adapter.change import WeightChange
    from mergebarrier.checkpoint.adapter.config import ADAPTER_CONFIG, ADAPTER_WEIGHTS
    from mergebarrier.checkpoint.adapter.contents import ADAPTER_PREFIX, Factors
    from mergebarrier.checkpoint.adapter.placement import place, tied_head
    from mergebarrier.checkpoint.adapter.vocabulary import with_own_head, with_rows

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_PREFIX",
    "ADAPTER_WEIGHTS",
    "AdaptedCheckpoint",
    "Adapter",
    "Factors",
    "WeightChange",
    "is_adapter",
    "open_adapter",
    "open_reference",
    "place",
    "split_reference",
    "tied_head",
    "with_own_head",
    "with_rows",
]

lazy.open_door(__name__)
