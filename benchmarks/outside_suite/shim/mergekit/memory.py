"""Tensors in memory as models of our planner: a recipe over them is planned and applied without a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor

from mergebarrier.checkpoint import Shard, TensorInfo
from mergebarrier.merge.recipe import recipe as recipes

DTYPES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Memory:
    """A state dict that reads like a checkpoint."""

    name: str
    held: Mapping[str, Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """A path to name it by."""
        return Path(self.name)

    root = path
    shards = (Shard("model.safetensors", 0, ()),)

    @cached_property
    def tensors(self) -> dict[str, TensorInfo]:
        """What is known about each tensor."""
        return {
            name: TensorInfo(name, DTYPES[t.dtype], tuple(t.shape), "model.safetensors", 0, t.nbytes)
            for name, t in self.held.items()
        }

    def as_stored(self) -> "Memory":
        """Return itself: nothing is renamed."""
        return self

    left_out: ClassVar[Mapping[str, str]] = {}
    left_behind: ClassVar[tuple[str, ...]] = ()
    folder_notes: ClassVar[tuple[str, ...]] = ()
    refused: ClassVar[None] = None
    code: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def made_of(self, name: str) -> "list[tuple[Memory, str]]":
        """Return what a tensor is made of: itself."""
        return [(self, name)]

    def read(self, name: str) -> Tensor:
        """Return a tensor."""
        return self.held[name]

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows of a tensor."""
        return self.read(name)[start:stop]

    side_files = ()

    def verify_unchanged(self) -> None:
        """Nothing can change."""


def merge(
    models: Sequence[Mapping[str, Tensor]],
    method: str,
    base: int | None,
    shared: Mapping[str, Any],
    own: Sequence[Mapping[str, Any]],
    dtype: torch.dtype | None,
    out_dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    """Plan a recipe over the models and apply it."""
    rows = [{"model": f"m{i}", "parameters": dict(values)} for i, values in enumerate(own)]
    document: dict[str, Any] = {"merge_method": method, "models": rows, "parameters": dict(shared)}
    document |= {"base_model": f"m{base}"} if base is not None else {}
    for key, value in (("dtype", dtype), ("out_dtype", out_dtype)):
        if value is not None:
            document[key] = str(value).removeprefix("torch.")
    recipe = recipes.parse(yaml.safe_dump(document).encode(), "parameters")
    opened: dict[Any, Any] = {
        reference: Memory(reference.text, models[int(reference.text[1:])]) for reference in recipe.references()
    }
    planned = recipes.plan(recipe, opened).surveyed()
    result: dict[str, Tensor] = {}
    for unit in planned.units:
        result |= planned.apply(unit, [{name: view.read(name) for name in unit.tensors} for view in planned.sources])
    return {name: result[name] for name in models[0]}
