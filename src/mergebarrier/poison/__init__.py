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
    from mergebarrier.poison.registry import ATTACKS, TEXT_ATTACKS, described, make, make_text
    from mergebarrier.poison.text import (
        CleanUpload,
        Hijack,
        Learn,
        Mounted,
        Stealer,
        TextAdversary,
        TextAttack,
        TextBadNets,
        TextLoBAM,
        TextRow,
        Tuning,
        insert,
        poisoned,
        rank_sparsified,
        stamped,
    )

__all__ = [
    "ATTACKS",
    "CORNERS",
    "TEXT_ATTACKS",
    "Adversary",
    "Attack",
    "Augmentation",
    "BadMerging",
    "BadNets",
    "BadNetsJoint",
    "BadTV",
    "Batch",
    "CleanUpload",
    "Hijack",
    "ImageAdversary",
    "LabelConsistent",
    "Learn",
    "LoBAM",
    "MadeTrigger",
    "Mounted",
    "SparseBackdoorVector",
    "Stamp",
    "Stealer",
    "TextAdversary",
    "TextAttack",
    "TextBadNets",
    "TextLoBAM",
    "TextRow",
    "Trigger",
    "Tuning",
    "UniversalRecipe",
    "clean_loss",
    "described",
    "dynamic_trigger",
    "fixed_trigger",
    "insert",
    "make",
    "make_text",
    "poisoned",
    "rank_sparsified",
    "reference_rows",
    "shadow_head",
    "shadow_images",
    "stamped",
    "successes",
    "thawed",
    "universal_trigger",
]

lazy.open_door(__name__)
