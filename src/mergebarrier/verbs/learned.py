"""``merge`` for methods that learn: run the experts of a language model on data files, then write the learned merge.

One file per expert: a task (``.jsonl``, of which the prompts are read and the answers are not) or plain text.  The rows
are drawn by the seed; the manifest names every file by its digest, the rows taken, and every coefficient learned.

    peak memory = module + result + what the method holds (``held_bytes``) + activations of one batch
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.checkpoint.bytes import BITS, FLOAT_NAMES
from mergebarrier.errors import BadMergeData, LimitExceeded, UnsupportedFeature
from mergebarrier.merge import (
    DataMerge,
    Linear,
    Merge,
    MergeUnit,
    Plan,
    RegMean,
    TaskArithmetic,
    TaskData,
    computed_on,
    parameters,
    plan,
)
from mergebarrier.progress import Progress
from mergebarrier.run import Block, Tables
from mergebarrier.verbs.job import MergeJob, whole_models

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from mergebarrier.evaluate import TokenRows

#: How each method wants its rows: (rows per batch, batches of one length only).
_BATCHES: Mapping[str, tuple[int, bool]] = {
    "fisher": (4, True),
    "regmean": (16, True),
    "regmean_plus": (16, True),
    "adamerging": (16, False),
    "concrete": (16, False),
}


@dataclass(frozen=True)
class Calibration:
    """What a merge learns from.

    Args:
      files:   one per expert, in their order: a task file (``.jsonl``) or plain text.
      samples: rows taken from each, at most; 0 for all rows of a task.
      dtype:   to compute in, "float32", "bfloat16" or "auto", which is what this machine computes in fastest.
      seed:    which rows.
      device:  where models run and regressions are solved, as ``device_named`` returns it.
    """

    files: tuple[Path, ...]
    samples: int = 256
    dtype: str = "float32"
    seed: int = 0
    device: str = "cpu"

    @property
    def arithmetic(self) -> str:
        """Return the dtype to compute in."""
        from mergebarrier.evaluate import compute_dtype

        return compute_dtype(self.dtype, "cpu" if self.device == "cpu" else "cuda")


def plan_fallback(method: DataMerge, base: Checkpoint | None, experts: Sequence[Checkpoint]) -> Plan:
    """Check that the models fit each other; the plan merges what the method does not learn (integers, constants)."""
    fallback: Merge = TaskArithmetic() if method.uses_base else Linear()
    return plan(fallback, base, experts)


def learning_bytes(method: DataMerge, planned: Plan, calibration: Calibration) -> int:
    """Return the bytes that learning holds, without the activations of a batch."""
    sizes = [info.numel for info in planned.donor.tensors.values()]
    itemsize = BITS[FLOAT_NAMES[calibration.arithmetic]] // 8
    stored = sum(info.nbytes for info in planned.donor.tensors.values())
    n_experts = len(planned.sources) - planned.method.uses_base
    return sum(sizes) * itemsize + stored + method.held_bytes(sum(sizes), max(sizes), itemsize, n_experts)


def fit_memory_budget(
    method: DataMerge, planned: Plan, calibration: Calibration, max_ram_bytes: int | None
) -> DataMerge:
    """Return the method with as much memory for Gram matrices as the budget leaves.

    Raises: LimitExceeded with both numbers.
    """
    if max_ram_bytes is None:
        return method
    grams = method.gram_bytes if isinstance(method, RegMean) else 0
    least = learning_bytes(method, planned, calibration) - grams
    if least >= max_ram_bytes:
        raise LimitExceeded(
            f"learning holds {least} bytes and more for every batch, the budget is {max_ram_bytes}",
            where=method.name,
            remedy="raise --max-ram, or compute in bfloat16",
        )
    if isinstance(method, RegMean):
        return dataclasses.replace(method, gram_bytes=min(grams, max_ram_bytes - least))
    return method


def by_learning(
    method: DataMerge,
    planned: Plan,
    calibration: Calibration,
    *,
    anchor: Checkpoint | None = None,
    max_ram_bytes: int | None = None,
) -> MergeJob:
    """Return the job of a merge that learns, which it does once its inputs are judged.

    Args:
      method:        as made.
      planned:       from ``plan_fallback``.
      calibration:   the data.
      anchor:        the base that the experts are compared with, where the method itself uses none.
      max_ram_bytes: the memory budget.
    Raises: LimitExceeded with both numbers.
    """
    method = fit_memory_budget(method, planned, calibration, max_ram_bytes)
    job = whole_models(planned, anchor)
    facts = {
        "method": method.name,
        "parameters": parameters(method),
        "sources": job.facts["sources"],
        "need": "data",
        "data": [path.name for path in calibration.files],
        "tensors": len(planned.donor.tensors),
        "peak_bytes": learning_bytes(method, planned, calibration),
        "files": job.facts["files"],
    }

    def learn(progress: Progress | None) -> MergeJob:
        return learn_merge(method, planned, calibration, progress, anchor)

    return dataclasses.replace(job, facts=facts, learn=learn)


def learn_merge(
    method: DataMerge,
    planned: Plan,
    calibration: Calibration,
    progress: Progress | None,
    anchor: Checkpoint | None = None,
) -> MergeJob:
    """Learn, and return the job that writes the result.

    Args:
      method:      from ``fit_memory_budget``.
      planned:     from ``planned_like``.
      calibration: the data.
      progress:    called with (steps done, steps in all).
      anchor:      the base that the experts are compared with, where the method itself uses none.
    Returns: MergeJob for ``merge``; its part of the manifest holds data, coefficients and what was seen.
    Raises:  BadMergeData, BadTask, BadText, UnsupportedFeature (no tokenizer), MergeError, NonFinite.
    """
    from mergebarrier.evaluate import load_module, load_tokenizer, parameter_names

    based = planned.method.uses_base
    sources = planned.sources[based:]
    if len(calibration.files) != len(sources):
        raise BadMergeData(
            f"{len(calibration.files)} data files for {len(sources)} experts",
            where=method.name,
            remedy="give --data once per model, in their order",
        )
    if "tokenizer.json" not in planned.donor.side_files:
        raise UnsupportedFeature(
            "the folder has no tokenizer.json", where=planned.donor.path, remedy="copy the tokenizer into it"
        )
    tokenizer = load_tokenizer(planned.donor)
    module = load_module(planned.donor, calibration.arithmetic, calibration.device)
    size, even = _BATCHES[method.name]
    tasks, told = [], []
    for path in calibration.files:
        rows, kind, digest = _read(path, module, tokenizer, calibration)
        batches = rows.even(size) if even else rows.mixed(size)
        tasks.append(TaskData(path.name, batches, rows.logits))
        told.append({"file": path.name, "kind": kind, "sha256": digest, "rows": len(rows.ids), "tokens": rows.tokens})
    names = {name: stored for stored, name in parameter_names(module, planned.donor.tensors).items()}
    tables = [_Named(source, names) for source in planned.sources]
    found = method.merge(module, tables[0] if based else None, tables[based:], tasks, progress=progress)
    for source in planned.sources:
        source.verify_unchanged()
    described = {
        "method": method.name,
        "parameters": {name: value for name, value in parameters(method).items() if name != "gram_bytes"},
        "determinism": "profile",
        **computed_on(calibration.device),
        "data": [{"expert": source.name, **line} for source, line in zip(sources, told, strict=True)],
        "calibration": {"samples": calibration.samples, "seed": calibration.seed, "dtype": calibration.arithmetic},
        "coefficients": {names[name]: list(row) for name, row in found.coefficients.items()},
        "diagnostics": found.diagnostics,
    }
    tensors = {names[name]: tensor for name, tensor in found.tensors.items()}

    def apply(unit: MergeUnit, blocks: Tables) -> "dict[str, Tensor]":
        merged = {}
        for name in unit.tensors:
            if name in tensors:
                start = blocks[0].start_row if isinstance(blocks[0], Block) else 0
                whole = tensors[name]
                merged[name] = whole[start : start + len(blocks[0][name])] if whole.dim() else whole
            else:
                merged |= planned.apply(_One((name,)), blocks)
        return merged

    # What was not learned is merged from all models; where all was, one gives names and shapes enough.
    needed = planned.sources if planned.donor.tensors.keys() - tensors.keys() else planned.sources[:1]
    job = whole_models(planned, anchor)
    return dataclasses.replace(job, sources=needed, apply=lambda: apply, request=described, whole=True)


@dataclass(frozen=True)
class _One:
    """A unit of one tensor."""

    tensors: tuple[str, ...]


class _Named(Mapping[str, "Tensor"]):
    """The tensors of a checkpoint under the names of a module, read each time they are asked for."""

    def __init__(self, source: Checkpoint, names: Mapping[str, str]) -> None:
        self._source, self._names = source, names

    def __getitem__(self, name: str) -> "Tensor":
        return self._source.read(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _read(
    path: Path, module: "nn.Module", tokenizer: "Tokenizer", calibration: Calibration
) -> "tuple[TokenRows, str, str]":
    """Return rows in the order drawn by the seed, what kind of file it is, and its digest."""
    from mergebarrier.evaluate import prompt_rows, read_task, read_text, text_rows

    if path.suffix.lower() == ".jsonl":
        task = read_task(path)
        order = _order(len(task.rows), calibration)
        rows = prompt_rows(module, tokenizer, [task.rows[i] for i in order])
        return rows, "task", task.digest
    text = read_text(path)
    rows = text_rows(module, tokenizer, text, calibration.samples or len(text))
    return rows.chosen(_order(len(rows.ids), calibration)), "text", hashlib.sha256(text.encode()).hexdigest()


def _order(n: int, calibration: Calibration) -> list[int]:
    """Return which rows to take, and in which order."""
    from mergebarrier.numerics import draws

    order: list[int] = draws.order(("calibration", calibration.seed), n).tolist()
    return order[: calibration.samples] if calibration.samples else order
