"""The n-th source of every tensor, seen as one model under the output's names.

A slice may take layer 2 of one model for layer 5 of the output; a view knows, per tensor, whose and which it is, so
that the executor reads a stack of slices like any other list of models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, TensorInfo


@dataclass(frozen=True)
class View:
    """Tensors of several models under other names; ``origins`` maps a name to (model, name there)."""

    origins: "Mapping[str, tuple[Checkpoint, str]]"

    @cached_property
    def tensors(self) -> "Mapping[str, TensorInfo]":
        """Name in the output -> place on disk."""
        return {name: model.tensors[theirs] for name, (model, theirs) in self.origins.items()}

    def read(self, name: str) -> Tensor:
        """Read a whole tensor."""
        model, theirs = self.origins[name]
        return model.read(theirs)

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Read rows of a tensor."""
        model, theirs = self.origins[name]
        return model.read_rows(theirs, start, stop)

    def verify_unchanged(self) -> None:
        """Raise ChangedDuringRun when a file behind the view changed."""
        for model in {id(model): model for model, _ in self.origins.values()}.values():
            model.verify_unchanged()
