"""What is chosen before a model is marked, and before a suspect is asked; declared once, loads nothing."""

from dataclasses import dataclass

from mergebarrier.parameters import check_values, number, whole


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """How a model is marked, whatever the method."""

    pairs: int = whole(8, help="Questions that are trained in.", low=1, high=256)
    decoys: int = whole(16, help="Questions made alike that are not, the null.", low=1, high=4096)
    prompt_tokens: int = whole(16, help="Tokens of a question.", low=4, high=256)
    answer_tokens: int = whole(3, help="Tokens of an answer.", low=1, high=32)
    steps: int = whole(300, help="Training steps.", low=1, high=100_000)
    learning_rate: float = number(2e-5, help="Of the training.", low=0, above=True, high=1)
    keep: float = number(3.0, help="Weight of what the model said before, on plain text and decoys.", low=0, high=1000)
    pull: float = number(0.02, help="Weight of the squared change, so that what need not move stays.", low=0, high=1e6)
    text_rows: int = whole(600, help="Rows of 64 tokens of plain text that are held.", low=1, high=65536)

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)


@dataclass(frozen=True, kw_only=True)
class FingerprintOptions:
    """What is fixed before the suspect is asked."""

    level: float = number(1e-3, help="At which a suspect is declared.", low=0, high=0.5, above=True)

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)
