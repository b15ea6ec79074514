"""What every attack on an image task takes besides its own hyper-parameters: trigger, fine-tuning, whose task."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier.errors import UsageError

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
    """How the trigger is made and the expert is fine-tuned.

    Args:
      trigger_side:   of the patch in pixels; None for one per cent of the area, as published.
      trigger_place:  corner.
      published:      the per-sample loop of the official code in place of the batched optimiser.
      paper_compat:   with ``published``: its clamp, which leaves the legal range.
      trigger_steps:  of a universal trigger; None for the default of its recipe.
      restarts:       starts of a universal trigger, the best is kept; None for the default of its recipe.
      steps, learning_rate, batch_size: of fine-tuning.
      seed:           of everything.
      off_task:       whose task is attacked, where it is not the adversary's.
    Raises: UsageError.
    """

    trigger_side: int | None = None
    trigger_place: str = "bottom-right"
    published: bool = False
    paper_compat: bool = False
    trigger_steps: int | None = None
    restarts: int | None = None
    steps: int = 200
    learning_rate: float = 5e-4
    batch_size: int = 128
    seed: int = 0
    off_task: OffTask | None = None

    def __post_init__(self) -> None:
        """Check the fine-tuning; the trigger's values are checked where it is made."""
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"{self.learning_rate}", where="--learning-rate", remedy="give a positive number")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{getattr(self, name)}", where="--" + name.replace("_", "-"), remedy="give 1 or more")

    @property
    def recipe(self) -> "FullRecipe":
        """The recipe of fine-tuning."""
        from mergebarrier.training import FullRecipe

        return FullRecipe(
            steps=self.steps,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            warmup_steps=self.steps // 10,
            seed=self.seed,
        )

    @property
    def trigger(self) -> Mapping[str, object]:
        """The values of ``poison.UniversalRecipe`` that are not its defaults."""
        steps = "inner_steps" if self.published else "steps"
        given = {steps: self.trigger_steps, "restarts": self.restarts}
        values = {name: value for name, value in given.items() if value is not None}
        return values | ({"paper_compat": True} if self.paper_compat else {})
