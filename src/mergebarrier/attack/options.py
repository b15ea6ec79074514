"""What every attack on an image task takes besides its own hyper-parameters: trigger, fine-tuning, whose task."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier.parameters import FINITE, check_values, choice, flag, number, whole
from mergebarrier.poison import CORNERS

if TYPE_CHECKING:
    from mergebarrier.training import FullRecipe


@dataclass(frozen=True, kw_only=True)
class OffTask:
    """An attack on a task that the adversary does not own.

    Args:
      target_class: its name in the task of ``reference``.
      reference:    a task file; only training pictures of the class and its name's vector are used.
      n_references: how many pictures.
      names:        a file of class-name vectors for the shadow head; default: the adversary's own classes.
    """

    target_class: str
    reference: Path
    n_references: int = 10
    names: Path | None = None


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """How the trigger is made and the expert is fine-tuned; each field declares its option of the command line.

    Args:
      trigger_side, trigger_place: the patch; a side of None is one per cent of the area, as published.
      published, paper_compat, trigger_steps, restarts: of a universal trigger; None for the default of its recipe.
      tuning_steps, learning_rate, batch_size: of fine-tuning.
      seed:     of everything.
      off_task: whose task is attacked, where it is not the adversary's.
    Raises: UsageError.
    """

    trigger_side: int | None = whole(None, help="Side of the patch in pixels; 1 % of the area if not given.")
    trigger_place: str = choice(CORNERS[0], choices=CORNERS, help="Corner of the patch.")
    published: bool = flag(False, flag="--as-published", help="Make the trigger by the official per-sample loop.")
    paper_compat: bool = flag(False, help="Clamp as that loop does, beyond legal pixels.", only="with --as-published")
    trigger_steps: int | None = whole(None, low=1, help="Optimisation steps of the trigger; 300 if not given.")
    restarts: int | None = whole(None, low=1, help="Times the trigger is made, the best is kept; 3 if not given.")
    tuning_steps: int = whole(200, low=1, flag="--steps", help="Steps of fine-tuning.")
    learning_rate: float = number(5e-4, low=0, above=True, high=FINITE, help="Learning rate of fine-tuning.")
    batch_size: int = whole(128, low=1, help="Batch size of fine-tuning.")
    seed: int = 0
    off_task: OffTask | None = None

    def __post_init__(self) -> None:
        """Refuse what an option does not allow."""
        check_values(self)

    @property
    def recipe(self) -> "FullRecipe":
        """The recipe of fine-tuning."""
        from mergebarrier.training import FullRecipe

        return FullRecipe(
            steps=self.tuning_steps,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            warmup_steps=self.tuning_steps // 10,
            seed=self.seed,
        )

    @property
    def trigger(self) -> Mapping[str, object]:
        """The values of ``poison.UniversalRecipe`` that are not its defaults."""
        steps = "inner_steps" if self.published else "steps"
        given = {steps: self.trigger_steps, "restarts": self.restarts}
        values = {name: value for name, value in given.items() if value is not None}
        return values | ({"paper_compat": True} if self.paper_compat else {})
