"""One tensor of the output: the inputs that it is merged from, by which method, in which dtypes; and how it is read.

A slice may take layer 2 of one model for layer 5 of the output, and an embedding its rows in the order of another
vocabulary.  An ``Input`` hides both; a ``RecipeView`` is the n-th input of every tensor, seen as one model under the
output's names, so that the executor reads any of it like a list of models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.errors import BadRecipe
from mergebarrier.merge.method import Merge
from mergebarrier.merge.recipe.schema import RecipeModule, Slice, SliceSource
from mergebarrier.merge.vocabulary import VocabularyRows

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, TensorInfo


@dataclass(frozen=True)
class Input:
    """One model's tensor: as which source of the recipe, of which model, under which name there.

    ``rows`` are those of another vocabulary, None for the rows as they are in the file.
    """

    source: SliceSource
    model: "Checkpoint"
    name: str
    rows: VocabularyRows | None = None

    @property
    def info(self) -> "TensorInfo":
        """Dtype and shape as the merge sees them."""
        info = self.model.tensors[self.name]
        return info if self.rows is None else self.rows.info(info)

    def read(self) -> Tensor:
        """Read the tensor."""
        return self.model.read(self.name) if self.rows is None else self.read_rows(0, self.info.rows)

    def read_rows(self, start: int, stop: int) -> Tensor:
        """Read rows ``start`` to ``stop`` (exclusive)."""
        if self.rows is None:
            return self.model.read_rows(self.name, start, stop)
        return self.rows.read(start, stop, self.info.shape[1:])


@dataclass(frozen=True)
class Target:
    """A tensor of the output; ``base`` is the position of the base among ``inputs``, None without."""

    name: str
    module: RecipeModule
    part: Slice
    depth: float
    inputs: tuple[Input, ...]
    base: int | None

    def base_first(self, uses_base: bool, *, pair: bool) -> "Target":
        """Put the base first where the method uses one, or goes from one model of a pair to the other."""
        if uses_base and self.base is None:
            raise BadRecipe(
                "the base is not among the sources of the slice",
                where=self.name,
                remedy="list it there, with its layer_range",
            )
        if self.base is None or not (uses_base or pair):
            return self
        inputs = [self.inputs[self.base], *(item for i, item in enumerate(self.inputs) if i != self.base)]
        return replace(self, inputs=tuple(inputs), base=0)


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the output.

    Attributes:
      target:    name, slice, depth and inputs; the base first where the method uses one.
      method:    with the parameters that hold here.
      effective: recipe name -> value, or one value per expert.
      dtype:     to compute from, as safetensors names it; None for the inputs' own.
      stored:    dtype on disk.
      copied:    the first input as it is.
    """

    target: Target
    method: Merge
    effective: Mapping[str, object]
    dtype: str | None
    stored: str
    copied: bool = False


@dataclass(frozen=True)
class RecipeView:
    """Tensors of several models under other names; ``origins`` maps a name to the input it is."""

    origins: Mapping[str, Input]

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

    def digest(self, name: str, hashing: str) -> str | None:
        """Return the digest of a tensor in its own model; None where rows of several vocabularies make it up."""
        item = self.origins[name]
        return item.model.digest(item.name, hashing) if item.rows is None else None

    def verify_unchanged(self) -> None:
        """Raise ChangedDuringRun when a file behind the view changed."""
        for model in {id(item.model): item.model for item in self.origins.values()}.values():
            model.verify_unchanged()


def views(tensors: Mapping[str, TensorPlan]) -> tuple[RecipeView, ...]:
    """Return the n-th inputs of all tensors, each as one model."""
    most = max(len(tensor.target.inputs) for tensor in tensors.values())
    found: list[dict[str, Input]] = [{} for _ in range(most)]
    for name, tensor in tensors.items():
        for view, item in zip(found, tensor.target.inputs, strict=False):
            view[name] = item
    return tuple(RecipeView(view) for view in found)


def cast_to(tensor: Tensor, dtype: str | None) -> Tensor:
    """Return a float tensor in a stored dtype; integers, and any for None, as they are."""
    if dtype is None or not tensor.is_floating_point():
        return tensor
    return tensor.to(TORCH[dtype])
