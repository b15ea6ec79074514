"""Attacks on merges of language models as folders, and what they do to a merge."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.attack.language.facts import MadeUp, Secret, secrets
    from mergebarrier.attack.language.measure import TextMeasureSpec, measure_text
    from mergebarrier.attack.language.options import TextOptions
    from mergebarrier.attack.language.theft import Theft, common, holds, theft
    from mergebarrier.attack.language.trigger_text import TRIGGER_TEXT, NamedText, is_text_trigger, read_text_trigger
    from mergebarrier.attack.language.upload import TextSpec, learner, make_upload, success_rows

__all__ = [
    "TRIGGER_TEXT",
    "MadeUp",
    "NamedText",
    "Secret",
    "TextMeasureSpec",
    "TextOptions",
    "TextSpec",
    "Theft",
    "common",
    "holds",
    "is_text_trigger",
    "learner",
    "make_upload",
    "measure_text",
    "read_text_trigger",
    "secrets",
    "success_rows",
    "theft",
]

lazy.open_door(__name__)
