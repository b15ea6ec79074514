"""A model as others see it: not weights but answers, within a budget of queries.

    Predictor: inputs -> class probabilities, within a budget of queries
    Suspect:   texts -> texts, as a chat or a completion service gives them

Attacks and tests that need nothing more are written against these, so that pictures, texts, our own modules and a
service behind an interface are the same to them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mergebarrier.errors import LimitExceeded

if TYPE_CHECKING:
    from torch import Tensor


class Predictor(Protocol):
    """A classifier that is asked, and counts how often."""

    @property
    def queries_left(self) -> int | None:
        """How many inputs may still be asked about; None without a limit."""

    def predict_proba(self, inputs: "Tensor") -> "Tensor":
        """Return class probabilities, Float32[Tensor, "n classes"], of "n ..." inputs.

        Raises: LimitExceeded, before anything is computed, when fewer than n queries are left.
        """


class Suspect(Protocol):
    """A language model that may hide something: text in, text out."""

    def answers(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        """Return what the model says after each prompt, at most ``max_tokens`` tokens of it."""


class Budget:
    """Queries that may be asked; one object may be shared by several predictors.

    Args:
      queries: in all; None for no limit.
    """

    def __init__(self, queries: int | None) -> None:
        """Start with all of them."""
        self.left = queries

    def spend(self, n: int) -> None:
        """Take ``n`` queries, or none of them: LimitExceeded with both numbers."""
        if self.left is None:
            return
        if n > self.left:
            raise LimitExceeded(
                f"{n} queries asked for, {self.left} are left", where="budget", remedy="ask less, or raise the budget"
            )
        self.left -= n
