"""What an attack on answers takes, declared once; loads nothing."""

from dataclasses import dataclass
from typing import Final

from mergebarrier.extraction.cloning import LOSSES
from mergebarrier.extraction.defences import DEFENCES
from mergebarrier.parameters import check_values, number, subset, whole

DATA_FREE: Final = "data_free"
ATTACKS: Final = (*LOSSES, DATA_FREE)


@dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """How a copy of a model is trained, by whoever makes it."""

    steps: int = whole(400, help="Training steps.", low=1, high=10**6)
    learning_rate: float = number(1e-3, help="Of the copy.", low=0, above=True, high=1)
    batch_size: int = whole(64, help="Pictures per step.", low=1, high=4096)

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(CopyOptions):
    """What is tried, and how a clone is trained."""

    attacks: tuple[str, ...] = subset(ATTACKS, help="How the clone learns.", choices=ATTACKS, noun="attack")
    defences: tuple[str, ...] = subset(
        ("none",), help="What the service does to its answers.", choices=tuple(DEFENCES), noun="defence"
    )
    queries: int = whole(1000, help="Pictures that the victim may be asked about.", low=1, high=10**9)
    seed: int = whole(0, help="Of every draw.")

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)
