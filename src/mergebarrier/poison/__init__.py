"""Backdoors that survive merging, and the classical ones that do not: red-team controls, one literal registry.

Everything here is a pure function of the encoder, heads, images and seed that it is given.
"""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.poison.image import (
        CORNERS,
        Adversary,
        Attack,
        Augmentation,
        BadMerging,
        BadNets,
        BadNetsJoint,
        BadTV,
        Found,
        LabelConsistent,
        LoBAM,
        SparseBackdoorVector,
        Trigger,
        UniversalRecipe,
        clean_loss,
        dynamic_trigger,
        fixed_trigger,
        reference_rows,
        shadow_head,
        shadow_images,
        successes,
        thawed,
        universal_trigger,
    )
    from mergebarrier.poison.registry import ATTACKS, make

__all__ = [
    "ATTACKS",
    "CORNERS",
    "Adversary",
    "Attack",
    "Augmentation",
    "BadMerging",
    "BadNets",
    "BadNetsJoint",
    "BadTV",
    "Found",
    "LabelConsistent",
    "LoBAM",
    "SparseBackdoorVector",
    "Trigger",
    "UniversalRecipe",
    "clean_loss",
    "dynamic_trigger",
    "fixed_trigger",
    "make",
    "reference_rows",
    "shadow_head",
    "shadow_images",
    "successes",
    "thawed",
    "universal_trigger",
]

doors.open_lazily(__name__)
