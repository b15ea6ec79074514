"""Merging tensors and state dicts in memory, and methods called by name; every call is a recipe over our engine."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mergebarrier.merge import MERGES
from mergebarrier.parameters import parameters_of
from mergekit import internals, memory
from mergekit.faults import theirs

#: The methods that mergekit registers.
THEIRS = (
    "arcee_fusion", "breadcrumbs", "breadcrumbs_ties", "dare_linear", "dare_ties", "della", "della_linear", "karcher",
    "linear", "model_stock", "multislerp", "nearswap", "nuslerp", "passthrough", "ram", "ramplus_tl", "sce", "slerp",
    "task_arithmetic", "ties",
)  # fmt: skip
#: Parameters that each model has for itself.
_PER_MODEL = {one.recipe for kind in MERGES.values() for one in parameters_of(kind).values() if one.per_model}


class BasePolicy(Enum):
    """Whether a method takes a base."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    IGNORED = "ignored"


@dataclass(frozen=True)
class TensorMetadata:
    """What is known of a tensor besides its values."""

    name: str | None = None
    vocabulary_axis: int | None = None


@dataclass(frozen=True)
class TensorEntry:
    """One model's tensor."""

    id: Any
    tensor: Tensor
    is_base: bool = False


@dataclass(frozen=True)
class TensorGroup:
    """The tensors that become one."""

    entries: tuple[TensorEntry, ...]
    metadata: TensorMetadata = field(default_factory=TensorMetadata)

    @classmethod
    def from_tensors(
        cls,
        tensors: Sequence[Tensor],
        *,
        ids: Sequence[Any] | None = None,
        base_index: int | None = None,
        name: str | None = None,
        vocabulary_axis: int | None = None,
    ) -> "TensorGroup":
        """Name tensors by their order, or by ids."""
        names = list(ids) if ids is not None else list(range(len(tensors)))
        if None in names:
            raise ValueError("IDs cannot be None")
        entries = tuple(TensorEntry(n, t, i == base_index) for i, (n, t) in enumerate(zip(names, tensors, strict=True)))
        return cls(entries, TensorMetadata(name, vocabulary_axis))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors alone."""
        return tuple(entry.tensor for entry in self.entries)

    @property
    def base(self) -> TensorEntry | None:
        """The base, if there is one."""
        return next((entry for entry in self.entries if entry.is_base), None)

    @property
    def non_base(self) -> tuple[TensorEntry, ...]:
        """All but the base."""
        return tuple(entry for entry in self.entries if not entry.is_base)


class PerGroupValues(list[Any]):
    """One value per group."""


class Method:
    """A merge method that may be called."""

    def __init__(self, name: str) -> None:
        """Describe one of ours as mergekit describes its own."""
        kind = MERGES[name]
        fields = {item.name for item in dataclasses.fields(kind)}
        words = [one.recipe for one in parameters_of(kind).values() if one.recipe]
        uses_base = isinstance(kind.uses_base, bool) and kind.uses_base
        based = "task_vectors" in fields
        policy = BasePolicy.REQUIRED if uses_base else BasePolicy.OPTIONAL if based else BasePolicy.IGNORED
        policy = BasePolicy.REQUIRED if name in ("slerp", "nearswap", "arcee_fusion") else policy
        most = None if kind.max_experts is None else kind.max_experts + (uses_base or based)
        self.spec = SimpleNamespace(
            name=name,
            parameters=[SimpleNamespace(name=word) for word in words],
            contract=SimpleNamespace(base=policy, max_inputs=most),
        )

    def __call__(
        self,
        groups: Sequence[TensorGroup],
        *,
        parameters: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        out_dtype: torch.dtype | None = None,
        batch_options: Any = None,
    ) -> tuple[Tensor, ...]:
        """Merge every group."""
        del batch_options
        if any(not isinstance(group, TensorGroup) for group in groups):
            raise TypeError("not a sequence of TensorGroup")
        results = []
        for index, group in enumerate(groups):
            name = group.metadata.name or "weight"
            place = next((i for i, entry in enumerate(group.entries) if entry.is_base), None)
            axis = group.metadata.vocabulary_axis
            if axis is not None and len({entry.tensor.shape for entry in group.entries}) > 1:
                what = "Tensor size mismatch for {}. Align vocabulary axes with tokenizer: source: base"
                raise ValueError(what.format(name))
            models = {entry.id: {name: entry.tensor} for entry in group.entries}
            values = {key: _of_group(value, index) for key, value in (parameters or {}).items()}
            base = group.entries[place].id if place is not None else None
            results.append(
                merge_state_dicts(models, self, base=base, parameters=values, dtype=dtype, out_dtype=out_dtype)[name]
            )
        return tuple(results)

    def __getattr__(self, name: str) -> Any:
        """Everything else is how mergekit builds a method."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(internals.placeholder("Method"), name)


def get(name: str) -> Method:
    """Return a method by its name."""
    if name not in THEIRS:
        raise RuntimeError(f"Unimplemented merge method {name}")
    return Method(name)


def registered_methods() -> tuple[Method, ...]:
    """Return all methods."""
    return tuple(map(Method, THEIRS))


def merge_tensors(
    tensors: Sequence[Tensor],
    method: Any,
    *,
    ids: Sequence[Any] | None = None,
    base_index: int | None = None,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Merge tensors."""
    label = name or "weight"
    names = list(ids) if ids is not None else list(range(len(tensors)))
    models = {key: {label: tensor} for key, tensor in zip(names, tensors, strict=True)}
    base = names[base_index] if base_index is not None else None
    return merge_state_dicts(models, method, base=base, parameters=parameters, dtype=dtype, out_dtype=out_dtype)[label]


def merge_state_dicts(
    models: Any,
    method: Any,
    *,
    base: Any = None,
    parameters: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
    **_: Any,
) -> dict[str, Tensor]:
    """Merge state dicts or modules, given as a list or by name."""
    for given in (dtype, out_dtype):
        if given is not None and not given.is_floating_point:
            raise ValueError(f"{given} is no floating-point torch.dtype")
    named = dict(models) if isinstance(models, Mapping) else dict(enumerate(models))
    if None in named:
        raise ValueError("IDs cannot be None")
    tables = [
        model.state_dict(keep_vars=True) if isinstance(model, torch.nn.Module) else dict(model)
        for model in named.values()
    ]
    ids = list(named)
    place = ids.index(base) if base is not None else None
    name = method if isinstance(method, str) else method.spec.name
    values = dict(parameters or {})
    each = [key for key, value in values.items() if isinstance(value, PerGroupValues)]
    with theirs():
        if not each:
            return _merge(tables, name, place, ids, values, dtype, out_dtype)
        result: dict[str, Tensor] = {}
        for index, tensor in enumerate(tables[0]):
            one = {key: _of_group(value, index) for key, value in values.items()}
            result |= _merge([{tensor: table[tensor]} for table in tables], name, place, ids, one, dtype, out_dtype)
        return result


def _of_group(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, PerGroupValues) else value


def _merge(
    tables: list[dict[str, Tensor]],
    name: str,
    place: int | None,
    ids: list[Any],
    values: Mapping[str, Any],
    dtype: torch.dtype | None,
    out_dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    own: list[dict[str, Any]] = [{} for _ in tables]
    shared: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            for number, model in enumerate(ids):
                if model in value:
                    own[number][key] = value[model]
        elif isinstance(value, list | tuple) and key in _PER_MODEL:
            order = [i for i in range(len(ids)) if len(value) == len(ids) or i != place]
            if len(order) != len(value):
                raise ValueError(f"{key} expects {len(order)} values, got {len(value)}")
            for number, item in zip(order, value, strict=True):
                own[number][key] = item
        else:
            shared[key] = value
    return memory.merge(tables, name, place, shared, own, dtype, out_dtype)


__getattr__ = internals.attribute_of("mergekit.merge_methods")
