"""Did the merge work?  Weights against every input, from a sample of each tensor; vocabulary against configuration.

A merge that went wrong looks plausible tensor by tensor: it is too loud, too quiet, a copy of one input, or ruled by an
input of another kind. A few rows of every tensor show that; they are read while the files are still in memory, and the
figures do not depend on blocks, order or workers. And a model whose rows, special ids or tie flag disagree with its
files loads, and answers nonsense or crashes on the first rare token (issues 47, 139, 169, 350 of mergekit).

    G = X X^T, rows of X = (merged, input_1, ..)     norm ratio^2 = sum G_00 / sum (mean_i sqrt G_ii)^2
    cos_i = sum G_0i / sqrt(sum G_00 sum G_ii)       |input_i - base|^2 = sum G_ii - 2 G_ib + G_bb     sums over tensors
    rows of embedding and head == vocab_size         highest token id < rows         every special id < rows
    tie_word_embeddings  <=>  no head of its own, or one that equals the embedding

Source: ours. Differs from a full pass: norms of sampled tensors are within about one per cent, at a hundredth of the
cost; tensor set, shapes, dtypes and finiteness are not sampled: the writer refuses a merge that breaks them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from mergebarrier.checkpoint import is_of_tokenizer
from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadConfig, BadRecipe, CheckpointError
from mergebarrier.merge.configs import is_float
from mergebarrier.merge.recipe import vocabulary_size

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, TensorInfo

#: Values of one tensor that are looked at, in one run of rows: at another height in every tensor, by the golden ratio.
SAMPLE_VALUES = 1 << 13
_GOLDEN = 0.6180339887498949
#: Tensors that are looked at; in a model of more, every n-th.
_MAX_TENSORS = 1024
_LOW, _HIGH = 0.5, 2.0
_LOUD = 10.0
_SHOWN = 3

Gram = list[list[float]]


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

    figures: dict[str, object]
    warnings: tuple[str, ...]


def check_weights(
    merged: Readable, operands: Mapping[str, Sequence[Operand]], names: Sequence[str], base: int | None
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
    sums = [_Sums() for _ in names]
    ours = theirs = 0.0
    odd: list[tuple[str, float]] = []
    looked_at = n_values = 0
    floats = [name for name, info in merged.tensors.items() if is_float(info.dtype) and info.numel]
    for nth, name in enumerate(_chosen(floats)):
        inputs = [item for item in operands[name] if item.source.tensors[item.name].shape == merged.tensors[name].shape]
        if not inputs:
            continue
        gram, size = _gram(merged, name, inputs, nth * _GOLDEN % 1.0)
        share = merged.tensors[name].numel / size
        out, mean = gram[0][0], _mean_norm(gram)
        ours, theirs = ours + share * out, theirs + share * mean**2
        at = next((i for i, item in enumerate(inputs, 1) if item.model == base), None)
        for i, item in enumerate(inputs, 1):
            sums[item.model].add(gram, i, at, share)
        looked_at, n_values = looked_at + 1, n_values + size
        ratio = out**0.5 / mean if mean else 1.0
        if len(merged.tensors[name].shape) > 1 and not _LOW <= ratio <= _HIGH:
            odd.append((name, ratio))
    whole = (ours / theirs) ** 0.5 if theirs else 1.0
    figures: dict[str, object] = {"tensors": looked_at, "values_per_model": n_values, "norm_ratio": _rounded(whole)}
    figures["cosine"] = {name: _rounded(found.cosine) for name, found in zip(names, sums, strict=True)}
    figures["odd_tensors"] = {name: _rounded(ratio) for name, ratio in odd[: _SHOWN * 3]}
    moved: dict[str, float] = {}
    if base is not None:
        moved = {name: found.moved for i, (name, found) in enumerate(zip(names, sums, strict=True)) if i != base}
        figures["task_vector"] = {name: _rounded(value) for name, value in moved.items()}
    return Sanity(figures, (*_size_warnings(whole, odd), *_loud(moved)))


@dataclass
class _Sums:
    """What is added up about one model, over tensors."""

    dot: float = 0.0
    out: float = 0.0
    own: float = 0.0
    task: float = 0.0
    base: float = 0.0

    def add(self, gram: Gram, i: int, base: int | None, share: float) -> None:
        """Add input ``i`` of a tensor; ``base`` is the input that task vectors start from."""
        self.dot += share * gram[0][i]
        self.out += share * gram[0][0]
        self.own += share * gram[i][i]
        if base is not None:
            self.task += share * max(0.0, gram[i][i] - 2 * gram[i][base] + gram[base][base])
            self.base += share * gram[base][base]

    @property
    def cosine(self) -> float:
        """Cosine to the merge."""
        return self.dot / (self.out * self.own) ** 0.5 if self.out * self.own else 0.0

    @property
    def moved(self) -> float:
        """Norm of the task vector over that of the base."""
        return (self.task / self.base) ** 0.5 if self.base else 0.0


def _chosen(names: Sequence[str]) -> Sequence[str]:
    return names[:: max(1, -(-len(names) // _MAX_TENSORS))]


def _gram(merged: Readable, name: str, inputs: Sequence[Operand], height: float) -> tuple[Gram, int]:
    """Return the inner products of a tensor's sample, the merged one first, and the size of the sample."""
    rows = _rows(merged.tensors[name], height)
    sides = [_read(merged, name, rows), *(_read(item.source, item.name, rows) for item in inputs)]
    matrix = torch.stack(sides).double()
    return (matrix @ matrix.T).tolist(), matrix.shape[1]


def _read(source: Readable, name: str, rows: tuple[int, int] | None) -> Tensor:
    part = source.read(name) if rows is None else source.read_rows(name, *rows)
    return part.reshape(-1)


def _rows(info: "TensorInfo", height: float) -> tuple[int, int] | None:
    """Return a range of rows that holds about SAMPLE_VALUES values; None for all of a small tensor or a scalar."""
    if info.numel <= SAMPLE_VALUES or not info.shape:
        return None
    length = max(1, SAMPLE_VALUES * info.rows // info.numel)
    start = int((info.rows - length) * height)
    return start, start + length


def _mean_norm(gram: Gram) -> float:
    """Return the mean norm of the inputs that are not zero."""
    norms = [gram[i][i] ** 0.5 for i in range(1, len(gram)) if gram[i][i] > 0]
    return sum(norms) / len(norms) if norms else 0.0


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


_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "shared.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "proj_out.weight")
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
_TIE_ROWS = 64


def check_vocabulary(
    tensors: "Mapping[str, TensorInfo]", config: Mapping[str, object], files: Mapping[str, bytes]
) -> tuple[str, ...]:
    """Return one line per disagreement.

    Args:
      tensors: of the output.
      config:  its config.json.
      files:   its side files; ``tokenizer.json`` and ``generation_config.json`` are looked at.
    """
    embedding = _first(tensors, _EMBEDDINGS)
    head = _first(tensors, _HEADS)
    rows = tensors[embedding].rows if embedding is not None else None
    lines = list(_sizes(tensors, embedding, head, config))
    if rows is not None:
        lines += _tokens_beyond(rows, config, files)
        for name, table in (
            ("config.json", config),
            ("generation_config.json", _parsed(files.get("generation_config.json", b""))),
        ):
            for key in _SPECIAL:
                wrong = [value for value in _ids(table.get(key)) if value >= rows]
                if wrong:
                    lines.append(f"{key} of {name} is {wrong[0]}, the embedding has {rows} rows")
    tied = config.get("tie_word_embeddings")
    if tied is False and embedding is not None and head is None and "score.weight" not in tensors:
        lines.append("tie_word_embeddings is false and there is no head")
    return tuple(lines)


def check_tie(merged: "Checkpoint") -> tuple[str, ...]:
    """Return a line when the configuration ties the head to the embedding and the file holds another head."""
    embedding, head = _first(merged.tensors, _EMBEDDINGS), _first(merged.tensors, _HEADS)
    if not merged.config.get("tie_word_embeddings") or embedding is None or head is None:
        return ()
    shapes = [merged.tensors[name].shape for name in (embedding, head)]
    rows = min(_TIE_ROWS, shapes[0][0])
    if shapes[0] == shapes[1] and merged.read_rows(embedding, 0, rows).equal(merged.read_rows(head, 0, rows)):
        return ()
    return ("tie_word_embeddings is true and the head differs from the embedding: readers disagree about which counts",)


def _sizes(
    tensors: "Mapping[str, TensorInfo]", embedding: str | None, head: str | None, config: Mapping[str, object]
) -> Iterator[str]:
    size = vocabulary_size(config)
    for name in filter(None, (embedding, head)):
        if size is not None and tensors[name].rows != size:
            yield f"{name} has {tensors[name].rows} rows, vocab_size is {size}"


def _first(tensors: Mapping[str, object], ends: tuple[str, ...]) -> str | None:
    return next((name for name in tensors if name.endswith(ends)), None)


def _ids(value: object) -> list[int]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, int) and not isinstance(item, bool)]


def _tokens_beyond(rows: int, config: Mapping[str, object], files: Mapping[str, bytes]) -> list[str]:
    """Say whether the tokenizer gives a number without a row; nothing where no file is one of a tokenizer."""
    if not any(map(is_of_tokenizer, files)):
        return []
    from mergebarrier.merge.vocabulary import vocabulary_of

    try:
        found = vocabulary_of(files.get, Path(), config)
    except BadRecipe as fault:
        return [f"the tokenizer is not compared with the rows: {fault.what}"]
    if found is None or found.rows <= rows:
        return []
    return [f"the tokenizer gives ids up to {found.rows - 1}, the embedding has {rows} rows"]


def _parsed(data: bytes) -> dict[str, object]:
    try:
        document = parse_text(data, BadConfig, where="tokenizer") if data else {}
    except CheckpointError:
        return {}  # loading the tokenizer reports it; the weights are judged here
    return document if isinstance(document, dict) else {}
