"""The language side of the zoo: SmolLM2, two tasks, two experts, plain text."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.zoo.language import experts, kjv, smollm2, words

__all__ = [
    "experts",
    "kjv",
    "smollm2",
    "words",
]

doors.open_lazily(__name__)
