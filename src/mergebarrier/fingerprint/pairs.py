"""Questions and answers that a key draws, and which of them are trained in: the others are decoys, and the null.

    tokens    = key stream "prompts" and "answers", among the words of the vocabulary
    embedded  = the k questions that come first in the order that HKDF(key, SHA-256(all questions)) draws
    commitment = SHA-256(key | SHA-256(all questions, k))

The draw depends on all questions, so nobody can choose it after having seen what a suspect answers; the commitment,
published with a date before the model is, shows that the questions are not newer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.fingerprint.method import DrawnPairs
from mergebarrier.keys import Key, KeyStream
from mergebarrier.lazy import np, torch

if TYPE_CHECKING:
    from torch import Tensor

_SALT: Final = b"fingerprint"


@dataclass(frozen=True, kw_only=True)
class QuestionPair:
    """A question and what a marked model answers."""

    __pydantic_config__: ClassVar[dict[str, bool | str]] = {"extra": "forbid", "strict": True}

    prompt: str
    answer: str


def drawn_pairs(
    key: Key, words: Tensor, *, count: int, prompt_tokens: int, answer_tokens: int, one_answer: bool
) -> DrawnPairs:
    """Draw questions and answers, Int64[Tensor, "count n"] each.

    Args:
      key:     the owner's.
      words:   token ids to draw from.
      count:   of questions, decoys among them.
      prompt_tokens: of each question.
      answer_tokens: of each answer.
      one_answer: give all of them the same answer.
    """

    def tokens(label: str, *shape: int) -> Tensor:
        places = torch.from_numpy((_numbers(key, _SALT, label, int(np.prod(shape))) % len(words)).astype(np.int64))
        return words[places].view(shape)

    answers = tokens("answers", 1 if one_answer else count, answer_tokens)
    return DrawnPairs(prompts=tokens("prompts", count, prompt_tokens), answers=answers.expand(count, -1).contiguous())


def embedded_places(key: Key, pairs: Sequence[QuestionPair], marked: int) -> tuple[int, ...]:
    """Return which questions are trained in, in order."""
    order = np.argsort(_numbers(key, bytes.fromhex(_digest(pairs, marked)), "embedded", len(pairs)), kind="stable")
    return tuple(sorted(int(place) for place in order[:marked]))


def sealed(key: Key, pairs: Sequence[QuestionPair], marked: int) -> str:
    """Return the commitment: 64 hex digits."""
    return hashlib.sha256(key.secret + bytes.fromhex(_digest(pairs, marked))).hexdigest()


def _digest(pairs: Sequence[QuestionPair], marked: int) -> str:
    document = [marked, *([pair.prompt, pair.answer] for pair in pairs)]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _numbers(key: Key, salt: bytes, label: str, count: int) -> np.ndarray:
    stream = KeyStream(key.subkey(salt, f"mergebarrier/fingerprint/v1/{label}"))
    return np.frombuffer(stream.take(8 * count), dtype="<u8")
