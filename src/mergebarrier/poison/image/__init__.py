"""Backdoors of image encoders that survive merging, and the classical ones that do not."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.poison.image.adversary import ImageAdversary
    from mergebarrier.poison.image.backdoor_vectors import BadTV, SparseBackdoorVector
    from mergebarrier.poison.image.badmerging import BadMerging
    from mergebarrier.poison.image.badnets import BadNets, BadNetsJoint, LabelConsistent
    from mergebarrier.poison.image.lobam import LoBAM
    from mergebarrier.poison.image.shadow import Augmentation, reference_rows, shadow_head, shadow_images
    from mergebarrier.poison.image.success import successes
    from mergebarrier.poison.image.trigger import CORNERS, Trigger, dynamic_trigger, fixed_trigger
    from mergebarrier.poison.image.universal import MadeTrigger, UniversalRecipe, universal_trigger

__all__ = [
    "CORNERS",
    "Augmentation",
    "BadMerging",
    "BadNets",
    "BadNetsJoint",
    "BadTV",
    "ImageAdversary",
    "LabelConsistent",
    "LoBAM",
    "MadeTrigger",
    "SparseBackdoorVector",
    "Trigger",
    "UniversalRecipe",
    "dynamic_trigger",
    "fixed_trigger",
    "reference_rows",
    "shadow_head",
    "shadow_images",
    "successes",
    "universal_trigger",
]

lazy.open_door(__name__)
