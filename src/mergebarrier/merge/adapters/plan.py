"""The plan of a merge of adapters, and one module of it merged, rounded once and measured.

    residual = |wanted - B A| after rounding,   crossed = |sum_{i != j} of the cross terms| in factor space

The norms are Frobenius norms; those of products are taken from the small cores of their factors.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mergebarrier.checkpoint import Adapter, Checkpoint, Factors, OutTensor, TensorInfo
from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.merge.adapters import factors as _lora
from mergebarrier.merge.adapters.files import factor_names, whole_name
from mergebarrier.merge.arithmetic import SurveyResult
from mergebarrier.merge.method import Merge
from mergebarrier.merge.methods import TaskArithmetic
from mergebarrier.merge.plan import MergeUnit

_Part = tuple[float, _lora.Factors]
"""s_i and (B_i, A_i) of one adapter."""


@dataclass(frozen=True)
class AdapterModule:
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
      adapters: what is merged; None means the base itself, which no update changes.
      base:     the base that the adapters were checked against, None without; it is read for ``whole`` alone.
      modules:  name -> AdapterModule.
      whole:    tensor of the base that adapters hold whole -> the method that merges it.
      space:    "product" or "factor".
      layout, units: of the output.
      sizes:    what the executor reckons its memory by, under the names of the output.
      config:   adapter_config.json of the output.
      notes:    warnings for the user, one line each.
      survey:     tensor of the base -> what a survey of all modules says; ``surveyed`` fills it.
    """

    adapters: tuple[Adapter | None, ...]
    base: Checkpoint | None
    modules: Mapping[str, AdapterModule]
    whole: Mapping[str, Merge]
    space: str
    layout: tuple[OutTensor, ...]
    units: tuple[MergeUnit, ...]
    sizes: Mapping[str, TensorInfo]
    config: Mapping[str, object]
    notes: tuple[str, ...]
    survey_results: Mapping[str, SurveyResult] = field(default_factory=dict)

    def surveyed(self) -> "AdapterPlan":
        """Return the plan after the method has looked at the updates of all modules, where it must."""
        methods = [module.method for module in self.modules.values()]
        if all(method.reads == 1 for method in methods):
            return self
        modules = {module.tensor: module for module in self.modules.values()}
        sizes = {tensor: math.prod(module.first.shape) for tensor, module in modules.items()}

        def read(tensor: str) -> Iterator[list[Tensor]]:
            updates = _updates(modules[tensor], self._parts(modules[tensor]))
            yield [torch.zeros_like(updates[0]), *updates]

        return replace(self, survey_results=methods[0].survey(sizes, read, len(self.adapters)))

    def _parts(self, module: AdapterModule) -> list[_Part | None]:
        return [
            (part.scale, adapter.read(module.name)) if adapter is not None and part is not None else None
            for adapter, part in zip(self.adapters, module.parts, strict=True)
        ]

    def merge(self, unit: str) -> tuple[dict[str, Tensor], Measured | None]:
        """Merge one unit: a module, or a tensor that is held whole.

        Returns: (tensors under the names of the output, norms of a module).
        Raises:  as Merge.merge.
        """
        if unit in self.whole:
            return {whole_name(unit, self.modules): self._whole(unit)}, None
        module = self.modules[unit]
        (b, a), measured = _merge_module(
            module, self._parts(module), self.space, self.survey_results.get(module.tensor)
        )
        name_a, name_b = factor_names(unit, embedding=module.first.embedding)
        return {name_a: a, name_b: b}, measured

    def summary(self) -> dict[str, object]:
        """Return what will be written."""
        ranks = [module.rank for module in self.modules.values()]
        return {
            "as": "adapter",
            "lora_space": self.space,
            "modules": len(self.modules),
            "ranks": sorted(dict.fromkeys(ranks)),
            "whole": list(self.whole),
            "bytes_written": sum(tensor.nbytes for tensor in self.layout),
            "files": list(dict.fromkeys(tensor.shard for tensor in self.layout)),
        }

    def figures(self, measured: Mapping[str, Measured]) -> dict[str, Any]:
        """Return ranks and relative errors of every module and of all, as the manifest holds them.

        ``residual`` is what the written factors miss, ``cross_terms`` what factor space adds, as parts of the update.
        """
        modules = {}
        for name, module in self.modules.items():
            norms = measured[name]
            modules[name] = {"rank": module.rank, "residual": _share(norms.residual, norms.update)}
            if self.space == "factor":
                modules[name]["cross_terms"] = _share(norms.crossed, norms.update)
        update = math.hypot(*(norms.update for norms in measured.values()))
        found: dict[str, Any] = {"warnings": [], "suspect": False, "modules": modules}
        found["residual"] = _share(math.hypot(*(norms.residual for norms in measured.values())), update)
        if self.space == "factor":
            crossed = found["cross_terms"] = _share(math.hypot(*(n.crossed for n in measured.values())), update)
            found["warnings"].append(
                f"A and B were merged apart: cross terms B_i A_j of adapters that never met are {100 * crossed:.3g} % "
                "of the update; the product space has none"
            )
        return found

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
        return merged.to(TORCH[self.sizes[whole_name(name, self.modules)].dtype])


def _updates(module: AdapterModule, parts: Sequence[_Part | None]) -> list[Tensor]:
    zero = torch.zeros(module.first.shape, dtype=torch.float64)
    return [zero if part is None else part[0] * (part[1][0] @ part[1][1]) for part in parts]


def _merge_module(
    module: AdapterModule, parts: Sequence[_Part | None], space: str, survey: SurveyResult | None
) -> tuple[_lora.Factors, Measured]:
    """Return the factors of the result, rounded, and its norms."""
    method, dtype = module.method, TORCH[module.dtype]
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
        updates = _updates(module, parts)
        base = torch.zeros_like(updates[0]) if method.uses_base else None
        wanted = method.merge(base, updates, name=module.tensor, survey=survey)
        update = float(wanted.norm())
        factors = _lora.factor(wanted, module.rank)
    b, a = (half.to(dtype).contiguous() for half in factors)
    got = b.double(), a.double()
    residual = float((wanted - got[0] @ got[1]).norm()) if isinstance(wanted, Tensor) else _lora.difference(wanted, got)
    return (b, a), Measured(update, residual, crossed)


def _share(part: float, whole: float) -> float:
    """Return a ratio to three digits, so that machines agree on it."""
    return float(f"{part / whole:.3g}") if whole else 0.0
