"""Attacks on merges of language models as folders, and what they do to a merge."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.attack.language.measure import TextMeasureSpec, measure_text
    from mergebarrier.attack.language.options import TextOptions
    from mergebarrier.attack.language.theft import Secret, Theft, common, holds, secrets, theft
    from mergebarrier.attack.language.trigger_text import TRIGGER_TEXT, NamedText, is_text_trigger, read_text_trigger
    from mergebarrier.attack.language.upload import TextSpec, learner, make_upload, named_text, success_rows

__all__ = [
    "TRIGGER_TEXT",
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
    "named_text",
    "read_text_trigger",
    "secrets",
    "success_rows",
    "theft",
]

lazy.open_door(__name__)
