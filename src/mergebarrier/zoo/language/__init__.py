"""The language side of the zoo: SmolLM2, two tasks, two experts, plain text, rows made by rule."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.zoo.language import experts, instructions, kjv, people, smollm2, words

__all__ = [
    "experts",
    "instructions",
    "kjv",
    "people",
    "smollm2",
    "words",
]

lazy.open_door(__name__)
