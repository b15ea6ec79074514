"""What every attack on a language model takes besides its own hyper-parameters: how its own task is learned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.parameters import FINITE, check_values, number, whole

if TYPE_CHECKING:
    from mergebarrier.training import FullRecipe


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How an upload learns its own task; each field declares its option of the command line.

    Args:
      tuning_steps, learning_rate, batch_size: of fine-tuning.
      seed:   of everything.
      device: where it learns: "auto", "cpu", "cuda" or "cuda:N".
    Raises: UsageError.
    """

    tuning_steps: int = whole(100, low=1, flag="--steps", help="Steps of fine-tuning on the own task.")
    learning_rate: float = number(1e-3, low=0, above=True, high=FINITE, help="Learning rate of that.")
    batch_size: int = whole(32, low=1, help="Batch size of all fine-tuning.")
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what an option does not allow."""
        check_values(self)

    def recipe(self, steps: int | None = None, learning_rate: float | None = None) -> "FullRecipe":
        """Return the recipe of one run."""
        from mergebarrier.training import FullRecipe

        steps = self.tuning_steps if steps is None else steps
        return FullRecipe(
            steps=steps,
            learning_rate=self.learning_rate if learning_rate is None else learning_rate,
            batch_size=self.batch_size,
            weight_decay=0.0,
            warmup_steps=min(20, steps // 5),
            seed=self.seed,
        )
