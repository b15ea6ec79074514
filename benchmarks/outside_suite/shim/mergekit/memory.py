"""Tensors in memory as models of our planner: a recipe over them is planned and applied without a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from mergebarrier.checkpoint import Checkpoint, Shard, TensorInfo
from mergebarrier.merge.recipe import recipe as recipes

DTYPES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
}  # fmt: skip
_SHARD = "model.safetensors"


class Memory(Checkpoint):
    """A state dict that is a checkpoint: one without files, so that what a checkpoint learns this one knows."""

    def __init__(self, name: str, held: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> None:
        """Describe each tensor; nothing is opened."""
        infos = tuple(TensorInfo(key, DTYPES[t.dtype], tuple(t.shape), _SHARD, 0, t.nbytes) for key, t in held.items())
        super().__init__(Path(name), Path(name), dict(config or {}), (Shard(_SHARD, 0, infos),), (), {})
        self._held = held

    @property
    def name(self) -> str:
        """The name it was given."""
        return str(self.path)

    @property
    def left_behind(self) -> tuple[str, ...]:
        """Nothing: there is no folder."""
        return ()

    def _read(self, info: TensorInfo, start: int, stop: int, shape: tuple[int, ...]) -> Tensor:
        whole = self._held[info.name]
        return whole.reshape(-1, *shape[1:])[start:stop] if shape else whole


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
