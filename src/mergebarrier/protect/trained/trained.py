"""What a trained protection is: a frozen dataclass with the loss that it minimises, and edits before and after.

    minimise  sum of objective(state, batch, generator)  over the task vector, within the owner's budget

To add a method: one file in this folder with a dataclass that inherits ``TrainedProtection``, sets ``name`` and
``limit``, declares its hyper-parameters (``mergebarrier.parameters``) and defines ``objective``, which yields named
scalars; and one line in ``registry.py``. ``state.loss(point, rows)`` is the loss of the model at a point of weight
space, ``state.divergence(point, rows, state.log_probs(other, rows))`` a KL, ``state.value(point, rows, f)`` anything
else; points are data (``training.Point``: scale, siblings, edit, rounding or noise) and samplers draw them
(``training.ScaleOnly``, ``MergeSimulation``, ``EditedMerge``, ``Segment``, ``Mixture``); ``clamped`` bounds a loss that
is pushed up. Multiply what protects by ``state.strength`` alone: the budget moves it, and the matched control is the
same run with strength 0. ``begin`` may move the start (a kick), ``finish`` the result (an edit of the trained vector),
and ``forms`` are variants whose cost is reported too; ``adapters = False`` where the result is not of low rank. Draw
from ``generator`` only: it belongs to seed and step. Options of the command line, the manifest, the tests over the
registry and the page of the documentation come from the declarations. Import from ``mergebarrier.training`` inside
functions: help texts do not load torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.parameters import FINITE, check_values, flag, number, whole

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from mergebarrier.training import ProtectiveState, StepRows

#: Rows of a step that are no slip of the keyboard.
MOST_ROWS: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What is published.

    Args:
      tau:   the task vector.
      taken: parameter -> its value, where the budget left less than what was asked.
    """

    tau: Mapping[str, Tensor]
    taken: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainedProtection:
    """What all have; a method declares some of these anew where its own defaults differ (``redefault``).

    Raises: UsageError.
    """

    name: ClassVar[str]
    limit: ClassVar[str]
    keyed: ClassVar[bool] = False
    adapters: ClassVar[bool] = True
    #: Whether ``state.distances()`` is asked, which then knows what no change of coordinates moves.
    distant: ClassVar[bool] = False

    #: Whether siblings are looked at; a method that does not is given none.
    simulates_merges: ClassVar[bool] = False

    steps: int = whole(200, low=1, help="Updates of the training.")
    learning_rate: float = number(
        3e-4, low=0, above=True, high=FINITE, help="Peak of AdamW's rate; warm-up, then half a cosine."
    )
    rows: int = whole(8, low=1, high=MOST_ROWS, help="Rows of the task in one step.")
    text_rows: int = whole(2, low=1, high=MOST_ROWS, help="Rows of plain text in one step.")
    strength: float = number(0.05, low=0, help="First weight of what protects; the budget moves it.")
    strength_ceiling: float = number(0.5, low=0, help="Largest weight of what protects.")
    budget: float = number(
        1.0, low=0, high=100, help="Percent that the perplexity of the right answers may rise; of text twice as much."
    )
    check_every: int = whole(50, low=1, help="Steps between two looks at the owner's loss.")
    keep: float = number(1.0, low=0, help="Weight of the divergence from the expert on plain text.")
    rank: int | None = whole(None, low=1, help="Rank of an adapter; that of the expert, else 16, where none is given.")
    as_published: bool = flag(False, help="The literal form of the paper: its constants, nothing of ours.")

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    @property
    def fixed(self) -> bool:
        """Whether the strength stays as it is and the budget is only reported."""
        return self.as_published

    def begin(self, state: ProtectiveState, generator: Generator) -> None:
        """Move the start of the training, in ``state.vector.leaves``."""

    def objective(self, state: ProtectiveState, batch: StepRows, generator: Generator) -> Iterator[tuple[str, Tensor]]:
        """Yield the terms of one step, each (name, scalar with a graph)."""
        raise TypeError(f"{self.name} declares no objective")

    def finish(self, state: ProtectiveState, plain: float) -> Finished | None:
        """Return what is published, ``plain`` being the largest loss that the budget allows.

        None where no edit keeps the owner within the budget: then the plain expert is kept.
        """
        return Finished(tau={name: value.detach() for name, value in state.task_vector().items()})

    def forms(self, state: ProtectiveState) -> Mapping[str, Mapping[str, Tensor]]:
        """Return further task vectors whose cost to the owner is reported beside it, by name."""
        return {}

    def kept(self, state: ProtectiveState, batch: StepRows) -> Iterator[tuple[str, Tensor]]:
        """Yield what holds the model to its expert on plain text, where there is text."""
        from mergebarrier.training import NOMINAL

        if self.keep and batch.text.places and not self.as_published:
            yield "keep", self.keep * state.divergence(NOMINAL, batch.text, state.said_by_expert(batch.text))
