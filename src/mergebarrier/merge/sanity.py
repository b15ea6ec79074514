"""Did the merge work?  Sizes and directions of the merged weights against every input, from a sample of each tensor.

A merge that went wrong looks plausible tensor by tensor: it is too loud, too quiet, a copy of one input, or ruled by an
input of another kind. A few rows of every tensor show that; they are read while the files are still in memory, and the
figures do not depend on blocks, order or workers.

    G = X X^T, rows of X = (merged, input_1, ..)    norm ratio = |merged| / mean |input_i|    cos_i = G_0i / |..| |..|
    task vector: |input - base|^2 = G_ii - 2 G_ib + G_bb

Source: ours. Differs from a full pass: norms of sampled tensors are within about one per cent, at a hundredth of the
cost; tensor set, shapes, dtypes and finiteness are not sampled: the writer refuses a merge that breaks them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from mergebarrier.merge._plan import is_float

if TYPE_CHECKING:
    from mergebarrier.checkpoint import TensorInfo

#: Values of one tensor that are looked at, in so many runs spread over its rows.
SAMPLE_VALUES = 1 << 14
_RUNS = 4
#: Tensors that are looked at; in a model of more, every n-th.
_MAX_TENSORS = 1024
_LOW, _HIGH = 0.5, 2.0
_LOUD = 10.0
_SHOWN = 3


class Readable(Protocol):
    """What rows are read from: a checkpoint, or a view of several under other names."""

    @property
    def tensors(self) -> "Mapping[str, TensorInfo]":
        """Name -> dtype, shape and place."""

    def read(self, name: str) -> Tensor:
        """Read one tensor."""

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Read rows ``start`` to ``stop`` (exclusive)."""


@dataclass(frozen=True)
class Operand:
    """One input of one tensor: which model (an index), what it is read from, and its name there."""

    model: int
    source: Readable
    name: str


@dataclass(frozen=True)
class Sanity:
    """What the sample shows.

    Attributes:
      figures:  for the manifest: norm_ratio, cosines and task_vectors by model name, how much was looked at.
      warnings: one line each.
    """

    figures: dict[str, Any]
    warnings: tuple[str, ...]


def check_weights(
    merged: Readable,
    operands: Mapping[str, Sequence[Operand]],
    names: Sequence[str],
    base: int | None,
) -> Sanity:
    """Compare a merged model with its inputs.

    Args:
      merged:   the output.
      operands: tensor of the output -> its inputs.
      names:    of the models that operands point to.
      base:     index of the base, None for a method without one.
    Returns: Sanity.
    Numerics: float64 sums, figures rounded to 4 digits, so that no order of summation shows.
    """
    n_models = len(names)
    total = torch.zeros(n_models + 1, n_models + 1, dtype=torch.float64)
    odd: list[tuple[str, float]] = []
    looked_at = n_values = 0
    for name in _chosen([name for name, info in merged.tensors.items() if is_float(info.dtype) and info.numel]):
        inputs = [item for item in operands[name] if item.source.tensors[item.name].shape == merged.tensors[name].shape]
        if not inputs:
            continue
        gram, size = _gram(merged, name, inputs)
        index = torch.tensor([0, *(item.model + 1 for item in inputs)])
        total[index[:, None], index] += gram * (merged.tensors[name].numel / size)
        looked_at, n_values = looked_at + 1, n_values + size
        ratio = _ratio(gram)
        if len(merged.tensors[name].shape) > 1 and not _LOW <= ratio <= _HIGH:
            odd.append((name, ratio))
    figures: dict[str, Any] = {
        "tensors": looked_at,
        "values_per_model": n_values,
        "norm_ratio": _rounded(_ratio(total)),
    }
    figures["cosine"] = {name: _rounded(_cosine(total, i + 1)) for i, name in enumerate(names)}
    figures["odd_tensors"] = {name: _rounded(ratio) for name, ratio in odd[: _SHOWN * 3]}
    loud: list[str] = []
    if base is not None:
        moved = {name: _moved(total, i + 1, base + 1) for i, name in enumerate(names) if i != base}
        figures["task_vector"] = {name: _rounded(value) for name, value in moved.items()}
        loud = list(_loud(moved))
    return Sanity(figures, (*_size_warnings(_ratio(total), odd), *loud))


def _chosen(names: Sequence[str]) -> Sequence[str]:
    return names[:: max(1, -(-len(names) // _MAX_TENSORS))]


def _gram(merged: Readable, name: str, inputs: Sequence[Operand]) -> tuple[Tensor, int]:
    """Return the inner products of a tensor's sample, the merged one first, and the size of the sample."""
    gram, size = torch.zeros(len(inputs) + 1, len(inputs) + 1, dtype=torch.float64), 0
    for rows in _runs(merged.tensors[name]):
        sides = [_read(merged, name, rows), *(_read(item.source, item.name, rows) for item in inputs)]
        matrix = torch.stack(sides)
        gram += matrix @ matrix.T
        size += matrix.shape[1]
    return gram, size


def _read(source: Readable, name: str, rows: tuple[int, int] | None) -> Tensor:
    part = source.read(name) if rows is None else source.read_rows(name, *rows)
    return part.reshape(-1).double()


def _runs(info: "TensorInfo") -> Iterator[tuple[int, int] | None]:
    """Yield ranges of rows that hold about SAMPLE_VALUES values; None for all of a small tensor or a scalar."""
    if info.numel <= SAMPLE_VALUES or not info.shape:
        yield None
        return
    wanted = max(1, SAMPLE_VALUES * info.rows // info.numel)
    runs = min(_RUNS, wanted)
    length, step = wanted // runs, info.rows // runs
    for k in range(runs):
        yield k * step, k * step + length


def _ratio(gram: Tensor) -> float:
    norms = gram.diagonal().clamp_min(0).sqrt()
    theirs = norms[1:][norms[1:] > 0]
    return float(norms[0] / theirs.mean()) if len(theirs) else 1.0


def _cosine(gram: Tensor, i: int) -> float:
    size = float((gram[0, 0] * gram[i, i]).clamp_min(0).sqrt())
    return float(gram[0, i]) / size if size else 0.0


def _moved(gram: Tensor, i: int, base: int) -> float:
    """Norm of a task vector over that of the base."""
    squared = float(gram[i, i] - 2 * gram[i, base] + gram[base, base])
    size = float(gram[base, base])
    return (max(0.0, squared) / size) ** 0.5 if size else 0.0


def _loud(moved: Mapping[str, float]) -> Iterator[str]:
    for name, size in moved.items():
        others = [value for other, value in moved.items() if other != name]
        if others and median(others) > 0 and size >= _LOUD * median(others):
            yield (
                f"the task vector of {name} is {size / median(others):.3g} times as long as those of the others: "
                "an input that is protected, or no fine-tune of this base"
            )


def _size_warnings(ratio: float, odd: Sequence[tuple[str, float]]) -> Iterator[str]:
    if not _LOW <= ratio <= _HIGH:
        yield f"the merged weights are {ratio:.3g} times as long as the inputs' on average"
    elif odd:
        shown = ", ".join(f"{name} ({value:.3g})" for name, value in odd[:_SHOWN])
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        yield f"{len(odd)} tensors are less than half or more than twice as long as the inputs': {shown}{more}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") + 0.0
