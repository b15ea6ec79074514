"""What a fingerprint is: how its questions are made, and with which share of the model they must be answered.

theta(a) = base + a (model - base),   a = 1 the model itself, a < 1 what is left of it in a merge
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DrawnPairs:
    """Questions and answers as tokens, one per row, all of one length."""

    prompts: Tensor
    answers: Tensor


class Language(Protocol):
    """A language model, as far as a search for questions needs it.

    Attributes:
      words: ids that a question may be made of, Int64[Tensor, "w"].
    """

    words: Tensor

    def losses(self, drawn: DrawnPairs) -> Tensor:
        """Return nats per token of each answer, Float32[Tensor, "n"], without a graph."""

    def slopes(self, drawn: DrawnPairs) -> Tensor:
        """Return how each answer's loss changes with the token at each place, Float32[Tensor, "n length w"]."""

    def readable(self, prompts: Tensor) -> Tensor:
        """Say of each question whether its text gives the same tokens again, Bool[Tensor, "n"]."""


class FingerprintMethod(Protocol):
    """One way to make a fingerprint; a frozen dataclass of hyper-parameters."""

    name: ClassVar[str]
    #: All questions have the same answer.
    one_answer: ClassVar[bool]

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of the model that must answer, in turn."""

    @property
    def input_share(self) -> float:
        """Share of the model that questions are searched for."""

    def searched(self, drawn: DrawnPairs, language: Language, *, seed: int) -> Tensor:
        """Return the questions that are trained in or kept as decoys, from those that were drawn.

        Args:
          drawn:    by the key.
          language: the model at ``input_share``.
          seed:     of a search.
        """
