"""The n-th source of every tensor, seen as one model under the output's names.

A slice may take layer 2 of one model for layer 5 of the output, and an embedding its rows in the order of another
vocabulary; a view knows, per tensor, whose and which it is, so that the executor reads any of it like a list of models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from mergebarrier.checkpoint import TensorInfo
    from mergebarrier.merge.recipe.targets import Input


@dataclass(frozen=True)
class RecipeView:
    """Tensors of several models under other names; ``origins`` maps a name to the input it is."""

    origins: "Mapping[str, Input]"

    @cached_property
    def tensors(self) -> "Mapping[str, TensorInfo]":
        """Name in the output -> dtype and shape."""
        return {name: item.info for name, item in self.origins.items()}

    def read(self, name: str) -> Tensor:
        """Read a whole tensor."""
        return self.origins[name].read()

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Read rows of a tensor."""
        return self.origins[name].read_rows(start, stop)

    def digest(self, name: str) -> str | None:
        """Return the digest of a tensor in its own model; None where rows of several vocabularies make it up."""
        item = self.origins[name]
        return item.model.digest(item.name) if item.rows is None else None

    def verify_unchanged(self) -> None:
        """Raise ChangedDuringRun when a file behind the view changed."""
        for model in {id(item.model): item.model for item in self.origins.values()}.values():
            model.verify_unchanged()
