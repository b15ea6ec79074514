"""A merge of adapters laid out, and one module of it merged, rounded once and measured.

    residual = |wanted - B A| after rounding,   crossed = |sum_{i != j} of the cross terms| in factor space

The norms are Frobenius norms; those of products are taken from the small cores of their factors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergebarrier.checkpoint import Adapter, Checkpoint, Factors, OutTensor, TensorInfo
from mergebarrier.merge import _lora
from mergebarrier.merge._adapter_files import factor_names, whole_name
from mergebarrier.merge._merge import Merge
from mergebarrier.merge._plan import MergeUnit
from mergebarrier.merge.task_arithmetic import TaskArithmetic

_TORCH = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}


@dataclass(frozen=True)
class Module:
    """A module of the merged adapter.

    Attributes:
      name:   in the base; ``tensor`` is its weight there.
      parts:  its factors on disk, per adapter; None where an adapter leaves it alone.
      method: with the parameters that hold here.
      rank:   of the result.
      dtype:  of the result, as safetensors names it.
    """

    name: str
    tensor: str
    parts: tuple[Factors | None, ...]
    method: Merge
    rank: int
    dtype: str

    @property
    def first(self) -> Factors:
        """Return the factors of the first adapter that has the module."""
        return next(part for part in self.parts if part is not None)


@dataclass(frozen=True)
class Measured:
    """Frobenius norms of one module: the update, what the written factors miss of it, the cross terms among it."""

    update: float
    residual: float
    crossed: float


@dataclass(frozen=True)
class AdapterPlan:
    """A merge of adapters, ready to run.

    Attributes:
      adapters: what is merged; None stands for the base itself, which no update changes.
      base:     the base, where whole tensors need its weights; else None.
      modules:  name -> Module.
      whole:    tensor of the base that adapters hold whole -> the method that merges it.
      space:    "product" or "factor".
      layout, units: of the output.
      sizes:    what the executor reckons its memory by, under the names of the output.
      config:   adapter_config.json of the output.
      notes:    warnings for the user, one line each.
    """

    adapters: tuple[Adapter | None, ...]
    base: Checkpoint | None
    modules: Mapping[str, Module]
    whole: Mapping[str, Merge]
    space: str
    layout: tuple[OutTensor, ...]
    units: tuple[MergeUnit, ...]
    sizes: Mapping[str, TensorInfo]
    config: Mapping[str, Any]
    notes: tuple[str, ...]

    def merge(self, unit: str) -> tuple[dict[str, Tensor], Measured | None]:
        """Merge one unit: a module, or a tensor that is held whole.

        Returns: (tensors under the names of the output, norms of a module).
        Raises:  as Merge.merge.
        """
        if unit in self.whole:
            return {whole_name(unit, self.modules): self._whole(unit)}, None
        module = self.modules[unit]
        parts = [
            (part.scale, adapter.read(unit)) if adapter is not None and part is not None else None
            for adapter, part in zip(self.adapters, module.parts, strict=True)
        ]
        (b, a), measured = _merge_module(module, parts, self.space)
        name_a, name_b = factor_names(unit, embedding=module.first.embedding)
        return {name_a: a, name_b: b}, measured

    def _whole(self, name: str) -> Tensor:
        ours = None if self.base is None else self.base.read(name)
        given: list[Tensor] = []
        for adapter in self.adapters:
            if adapter is not None and name in adapter.whole:
                given.append(adapter.weights.read(adapter.whole[name].name))
            elif ours is not None:
                given.append(ours)
        method = self.whole[name]
        merged = method.merge(ours if method.uses_base else None, given, name=name)
        return merged.to(_TORCH[self.sizes[whole_name(name, self.modules)].dtype])


def _merge_module(
    module: Module, parts: Sequence[tuple[float, _lora.Factors] | None], space: str
) -> tuple[_lora.Factors, Measured]:
    """Return the factors of the result, rounded, and its norms; ``parts`` are (s_i, (B_i, A_i))."""
    method, dtype = module.method, _TORCH[module.dtype]
    crossed = 0.0
    wanted: _lora.Factors | Tensor
    if space == "factor" or _lora.is_sum(method):
        each = zip(_lora.coefficients(method, len(parts)), parts, strict=True)
        terms = [(c * part[0], part[1]) for c, part in each if part is not None]
        wanted = _lora.join(terms)
        update = _lora.norm(wanted)
        factors = wanted if module.rank == wanted[1].shape[0] else _lora.cut(wanted, module.rank)
        if space == "factor":
            summed = _lora.apart(TaskArithmetic(), terms, module.tensor)
            crossed = _lora.difference(summed, wanted)
            factors = wanted = summed if _lora.is_sum(method) else _lora.apart(method, terms, module.tensor)
    else:
        zero = torch.zeros(module.first.shape, dtype=torch.float64)
        updates = [zero if part is None else part[0] * (part[1][0] @ part[1][1]) for part in parts]
        wanted = method.merge(zero if method.uses_base else None, updates, name=module.tensor)
        update = float(wanted.norm())
        factors = _lora.factor(wanted, module.rank)
    b, a = (half.to(dtype).contiguous() for half in factors)
    got = b.double(), a.double()
    residual = float((wanted - got[0] @ got[1]).norm()) if isinstance(wanted, Tensor) else _lora.difference(wanted, got)
    return (b, a), Measured(update, residual, crossed)
