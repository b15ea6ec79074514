"""Backdoors that survive merging, and the classical ones that do not: red-team controls, one literal registry.

Everything here is a pure function of the model, examples, losses and seed that it is given.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.poison.attack import Adversary, Attack, Batch, Stamp, clean_loss, thawed
    from mergebarrier.poison.image import (
        CORNERS,
        Augmentation,
        BadMerging,
        BadNets,
        BadNetsJoint,
        BadTV,
        ImageAdversary,
        LabelConsistent,
        LoBAM,
        MadeTrigger,
        SparseBackdoorVector,
        Trigger,
        UniversalRecipe,
        dynamic_trigger,
        fixed_trigger,
        reference_rows,
        shadow_head,
        shadow_images,
        successes,
        universal_trigger,
    )
    from mergebarrier.poison.registry import ATTACKS, described, make

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
    "Batch",
    "ImageAdversary",
    "LabelConsistent",
    "LoBAM",
    "MadeTrigger",
    "SparseBackdoorVector",
    "Stamp",
    "Trigger",
    "UniversalRecipe",
    "clean_loss",
    "described",
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

lazy.open_door(__name__)
