"""A checkpoint in the terms of its family: every tensor named, sized and grouped with what shares its axes."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.circuits.circuit import (
        CIRCUITS,
        Architecture,
        Circuit,
        Instance,
        Member,
        instance,
        instances_of,
    )
    from mergebarrier.circuits.declared import check_declared, require_same
    from mergebarrier.circuits.describe import describe, family_of, match
    from mergebarrier.circuits.embedding import EMBEDDING, embedding_of
    from mergebarrier.circuits.entries import entry_at
    from mergebarrier.circuits.laws import LAWS, SPOKEN
    from mergebarrier.circuits.relayered import LayerOrigin, with_layers
    from mergebarrier.circuits.resized import Resized, key_of, left_unsaid, unsaid, written_out
    from mergebarrier.circuits.unfolded import plan_of, shapes_of, stock_circuit, stock_entries

__all__ = [
    "CIRCUITS",
    "EMBEDDING",
    "LAWS",
    "SPOKEN",
    "Architecture",
    "Circuit",
    "Instance",
    "LayerOrigin",
    "Member",
    "Resized",
    "check_declared",
    "describe",
    "embedding_of",
    "entry_at",
    "family_of",
    "instance",
    "instances_of",
    "key_of",
    "left_unsaid",
    "match",
    "plan_of",
    "require_same",
    "shapes_of",
    "stock_circuit",
    "stock_entries",
    "unsaid",
    "with_layers",
    "written_out",
]

lazy.open_door(__name__)
