"""How much of an answer consists of the words that belong to its query.

    score(text; W) = sum over w in W of len(w) [w occurs in text] / len(text)

Each word counts once, whole and in any case; an empty answer scores 0.

Source: ModelShield (arXiv 2405.02365), the sentence watermark score.  Its published code searches inside words, so that
"art" is found in "part"; here a word is a word.
"""

import re
from collections.abc import Collection
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def found_words(text: str) -> frozenset[str]:
    """Return the words of a text, case folded."""
    return frozenset(word.casefold() for word in _WORD.findall(text))


def covered(text: str, words: Collection[str], found: Collection[str] | None = None) -> float:
    """Return the score of a text.

    Args:
      text:  an answer.
      words: of its query, case folded.
      found: ``found_words(text)``, where the caller has them.
    Returns: in [0, 1) for distinct words.
    """
    present = found_words(text) if found is None else found
    return sum(len(word) for word in words if word in present) / len(text) if text else 0.0
