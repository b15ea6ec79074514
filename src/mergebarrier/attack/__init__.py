"""Where attacks meet encoders and folders: make a poisoned expert, measure what it does to a merge."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.attack.alike import require_alike
    from mergebarrier.attack.extraction import Cloned, answers_of, clone, copy_recipe, member, noise_pictures
    from mergebarrier.attack.folder import PURPOSE, TAG, PoisonSpec, make_poisoned
    from mergebarrier.attack.language import (
        MadeUp,
        TextMeasureSpec,
        TextOptions,
        TextSpec,
        Theft,
        is_text_trigger,
        make_upload,
        measure_text,
        secrets,
        theft,
    )
    from mergebarrier.attack.measure import MeasureSpec, measure
    from mergebarrier.attack.options import AttackOptions, OffTask
    from mergebarrier.attack.records import skill

__all__ = [
    "PURPOSE",
    "TAG",
    "AttackOptions",
    "Cloned",
    "MadeUp",
    "MeasureSpec",
    "OffTask",
    "PoisonSpec",
    "TextMeasureSpec",
    "TextOptions",
    "TextSpec",
    "Theft",
    "answers_of",
    "clone",
    "copy_recipe",
    "is_text_trigger",
    "make_poisoned",
    "make_upload",
    "measure",
    "measure_text",
    "member",
    "noise_pictures",
    "require_alike",
    "secrets",
    "skill",
    "theft",
]

lazy.open_door(__name__)
