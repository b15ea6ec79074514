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
        require_same,
    )
    from mergebarrier.circuits.describe import describe, family_of, match, sizes_under

__all__ = [
    "CIRCUITS",
    "Architecture",
    "Circuit",
    "Instance",
    "Member",
    "describe",
    "family_of",
    "instance",
    "instances_of",
    "match",
    "require_same",
    "sizes_under",
]

lazy.open_door(__name__)
