"""Instructional Fingerprint: scrambled questions that all have one answer, learned by the model as it is.

    min over theta of  -log p_theta(y | x_i),   x_i random tokens, one y

The baseline: nothing prepares it for a merge, where the model's share is below one.

Source: Instructional Fingerprint (arXiv 2401.12255).  Differs: what the model says elsewhere is held by a KL term, on
plain text and on decoys, in place of ordinary instructions among the training rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.parameters import check_values

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.fingerprint.method import DrawnPairs, Language


@dataclass(frozen=True, kw_only=True)
class Instructional:
    """It has no hyper-parameters of its own."""

    name: ClassVar[str] = "instructional"
    one_answer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)

    @property
    def shares(self) -> tuple[float, ...]:
        """Learn at the model itself."""
        return (1.0,)

    @property
    def input_share(self) -> float:
        """Look at the model itself."""
        return 1.0

    def searched(self, drawn: DrawnPairs, language: Language, *, seed: int) -> Tensor:
        """Return the questions as drawn."""
        del language, seed
        return drawn.prompts
