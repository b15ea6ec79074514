"""A base with an adapter on it, seen as one model: read-only, one tensor at a time, nothing copied.

    W = round(W_0 + s B A)      W_0 stored (out, in);      round(W_0 + (s B A)^T)  where it is stored (in, out)
    DoRA: W = round(m_j (W_0 + s B A)_j / |(W_0 + s B A)_j|)  for every output j: a row, a column where stored (in, out)
    experts: W[e] = round(W_0[e] + s B_e A_e);      tokens: W[i_k] = values[k];      bias: b = round(b_0 + s b_B)
    a kernel counts as one long row; IA3, LoHa, LoKr, VeRA and AdaLoRA as their files in ``kinds`` say

Source: LoRA, arXiv 2106.09685; DoRA, arXiv 2402.09353; names and layouts of peft 0.21.2.  Differs from a merge by peft:
computed in float64 and rounded once to the dtype of the base, in row blocks of a fixed size, so that rows read alone
have the same bits.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

from mergebarrier.checkpoint.adapter.adapter import Adapter, open_adapter
from mergebarrier.checkpoint.adapter.change import WeightChange
from mergebarrier.checkpoint.adapter.contents import Factors
from mergebarrier.checkpoint.adapter.placement import Finder, Ties, place, unlike_live
from mergebarrier.checkpoint.adapter.vocabulary import with_own_head, with_rows
from mergebarrier.checkpoint.bytes import HASHES, SHA256, TORCH, TensorInfo, check_finite
from mergebarrier.checkpoint.read import Checkpoint, is_of_tokenizer, open_checkpoint
from mergebarrier.errors import clean
from mergebarrier.lazy import torch
from mergebarrier.progress import Progress

_BLOCK_ELEMENTS = 1 << 18


class AdaptedCheckpoint(Checkpoint):
    """A base with an adapter; made of two opened folders, which ``close`` closes.

    Args:
      base:    the model that the adapter was trained on.
      adapter: its LoRA.
      untie:   store a head apart that is tied in the base, and adapted apart from its embedding.
      find:    the base's name of a tensor in another spelling, None where there is none; of ``identity.finder``.
      ties:    as in ``place``.
    Attributes: as of Checkpoint, the base's where the adapter leaves them; besides
      base, adapter: as given.
      changes:       tensor name -> WeightChange, of every tensor that differs from the base's.
    Raises: BadAdapter when the base lacks a target, or has it in another shape; names both.
    """

    def __init__(
        self,
        base: Checkpoint,
        adapter: Adapter,
        find: Finder | None = None,
        ties: Ties | None = None,
        *,
        untie: bool = False,
    ) -> None:
        """Find every tensor of the adapter in the base."""
        name = Path(f"{base.path.name}+{adapter.path.name}")
        self._own = frozenset(filter(is_of_tokenizer, adapter.weights.side_files))
        files = [one for one in base.side_files if not (self._own and is_of_tokenizer(one))]
        files += sorted(self._own)
        super().__init__(base.path.parent / name, base.root, dict(base.config), base.shards, tuple(files), {})
        self.base, self.adapter, self.refused = base, adapter, base.refused
        self.code = {one: keys for part in (base, adapter.weights) for one, keys in part.code.items() if one in files}
        self.changes: Mapping[str, WeightChange] = place(adapter, base, find, ties, untie=untie)
        self.tensors = {name: self._info(name) for name in dict.fromkeys([*base.tensors, *self.changes])}
        resized = {
            (base.tensors[name].rows, self.tensors[name].rows)
            for name in base.tensors
            if base.tensors[name].shape != self.tensors[name].shape
        }
        for before, rows in resized:
            self.config = with_rows(self.config, before, rows)
        if any(name not in base.tensors for name in self.changes):
            self.config = with_own_head(self.config)
        self._changed: dict[tuple[str, str], str] = {}
        self._lengths: dict[str, torch.Tensor] = {}

    def _info(self, name: str) -> TensorInfo:
        change = self.changes.get(name)
        info = self.base.tensors[name if change is None else change.source]
        shape = info.shape if change is None or change.whole is None else change.whole.shape
        return info if shape == info.shape and name == info.name else _other(info, name, shape)

    def read_side_file(self, name: str) -> bytes:
        """Return the bytes of one of ``side_files``: a tokenizer of the adapter's own is that of the adapted model."""
        if name in self._own:
            return self.adapter.weights.read_side_file(name)
        if name == "config.json" and self.config != self.base.config:
            return json.dumps(self.config, indent=2).encode() + b"\n"
        return self.base.read_side_file(name)

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.base.name}+{self.adapter.name}"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Both folders."""
        return self.base.path, self.adapter.path

    @property
    def folder_notes(self) -> tuple[str, ...]:
        """As ``Checkpoint.folder_notes``, of both folders; and what peft's live model does otherwise than its merge."""
        apart = [
            f"{self.adapter.name}: the update of {clean(name)} is added to it, as by peft's merge; peft's live model "
            f"{otherwise}, so answers before and after differ"
            for name, otherwise in unlike_live(self.changes, self.base)
        ]
        return *self.base.folder_notes, *self.adapter.weights.folder_notes, *apart

    def close(self) -> None:
        """Close both."""
        self.base.close()
        self.adapter.close()

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor with its update, rounded once; as ``Checkpoint.read``."""
        info = self.tensors[name]
        if name not in self.changes:
            return self.base.read(name)
        return self._rows(name, 0, info.rows) if info.shape else self._whole(name)

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows ``start`` to ``stop`` (exclusive), the same bits as in ``read``."""
        info = self.tensors[name]
        if name not in self.changes or not (info.shape and 0 <= start <= stop <= info.rows):
            return self.base.read_rows(name, start, stop)
        return self._rows(name, start, stop)

    def read_matrix_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows of a tensor seen as a matrix; those of an updated one with whole rows around them."""
        shape = self.tensors[name].shape
        if name not in self.changes or len(shape) == 2:
            return (
                self.read_rows(name, start, stop) if len(shape) == 2 else self.base.read_matrix_rows(name, start, stop)
            )
        height = prod(shape[1:-1])
        first = start // height
        rows = self._rows(name, first, -(-stop // height)).reshape(-1, shape[-1])
        return rows[start - first * height : stop - first * height]

    def _whole(self, name: str) -> torch.Tensor:
        whole = self.changes[name].whole
        assert whole is not None
        return self.adapter.weights.read(whole.name).to(TORCH[self.tensors[name].dtype])

    def _rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        info, change = self.tensors[name], self.changes[name]
        out = torch.empty((stop - start, *info.shape[1:]), dtype=TORCH[info.dtype])
        step = max(1, _BLOCK_ELEMENTS // max(1, info.numel // info.rows))
        begin, end = start // step * step, min(-(-stop // step) * step, info.rows)
        updated = self._updated(name, begin, end)
        for first in range(begin, stop, step):
            last = min(first + step, info.rows)
            rows = updated(first, last)
            if change.factors is not None and change.factors.magnitude is not None:
                magnitude = change.factors.magnitude.name
                if change.transposed:
                    rows.mul_(self.adapter.weights.read(magnitude).double() / self._column_lengths(name))
                else:
                    lengths = self.adapter.weights.read(magnitude).double().flatten()[first:last]
                    rows.mul_((lengths / rows.norm(dim=1))[:, None])
            head, tail = max(first, start), min(last, stop)
            out[head - start : tail - start] = rows[head - first : tail - first].view(-1, *info.shape[1:])
        where = f"{self.path}: tensor {name!r}"
        check_finite(out, info.dtype, where=where, remedy="the update does not fit the base's dtype")
        return out

    def _column_lengths(self, name: str) -> torch.Tensor:
        """Return the length of every column of an updated matrix, from one pass over it; kept."""
        if name not in self._lengths:
            info = self.tensors[name]
            step = max(1, _BLOCK_ELEMENTS // info.shape[1])
            updated, total = self._updated(name, 0, info.rows), torch.zeros(info.shape[1], dtype=torch.float64)
            for first in range(0, info.rows, step):
                total += updated(first, min(first + step, info.rows)).square().sum(dim=0)
            self._lengths[name] = total.sqrt()
        return self._lengths[name]

    def _updated(self, name: str, start: int, stop: int) -> Callable[[int, int], torch.Tensor]:
        """Return how to get W_0 + s B A, rows ``first`` to ``last`` on disk, each as one row in float64."""
        change, factors = self.changes[name], self.changes[name].factors
        source, read_rows = (
            (change.source, self.base.read_rows)
            if change.whole is None
            else (change.whole.name, self.adapter.weights.read_rows)
        )

        tokens = change.tokens
        trained = None if tokens is None else self.adapter.weights.read(tokens.values.name).double()

        def before(first: int, last: int) -> torch.Tensor:
            rows = read_rows(source, first, last).double().reshape(last - first, -1)
            for row, index in enumerate(() if tokens is None else tokens.indices):
                if trained is not None and first <= index < last:
                    rows[index - first] = trained[row]
            return rows

        if change.biased is not None and change.biased.bias is not None:
            values = self.adapter.weights.read(change.biased.bias.name).double().mul_(change.biased.scale)[:, None]
            return lambda first, last: before(first, last).add_(values[first:last])
        if change.update is not None:
            shape = self.tensors[name].shape
            change_rows = change.update.rows(self.adapter.weights.read, shape, transposed=change.transposed)
            return lambda first, last: change_rows(before(first, last), first, last)
        if factors is None:
            return before
        if factors.parameters and len(self.tensors[name].shape) == 3:
            b, a = self.adapter.read(factors.module)
            return lambda first, last: before(first, last).add_(_experts(factors, b, a, first, last, change.transposed))
        if change.transposed:
            b, a = self.adapter.read(factors.module)
            left, right = a.T[start:stop].contiguous(), b.T.mul(factors.scale)
        else:
            rows = self.adapter.weights.read_rows(factors.b.name, start, stop).double().flatten(1)
            left = rows.mul_(factors.scale)
            right = self.adapter.weights.read(factors.a.name).double().flatten(1)
        return lambda first, last: before(first, last).addmm_(left[first - start : last - start], right)

    def stream(self) -> None:
        """Expect one pass over all tensors of both folders; as ``Checkpoint.stream``."""
        self.base.stream()
        self.adapter.weights.stream()

    def digest(self, name: str, hashing: str = SHA256) -> str:
        """Return the digest of one tensor as it is read here; as ``Checkpoint.digest``."""
        if name not in self.changes:
            return self.base.digest(name, hashing)
        if (name, hashing) not in self._changed:
            digest = HASHES[hashing](self.tensors[name])
            digest.add(0, self.read(name).reshape(-1).view(torch.uint8).numpy().data)
            self._changed[name, hashing] = digest.hexdigest() or ""
        return self._changed[name, hashing]

    def digests(self, workers: int = 1, progress: Progress | None = None, *, hashing: str = SHA256) -> dict[str, str]:
        """Hash every tensor as it is read here; as ``Checkpoint.digests``, after one pass over both folders."""
        found = self.base.digests(workers, progress, hashing=hashing)
        self.adapter.weights.digests(workers, hashing=hashing)
        return found | {name: self.digest(name, hashing) for name in self.changes}

    def verify_unchanged(self) -> None:
        """Raise ChangedDuringRun when a file of either folder changed."""
        self.base.verify_unchanged()
        self.adapter.weights.verify_unchanged()


def split_reference(path: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """Return the folders that ``BASE`` or ``BASE+ADAPTER`` names; a folder whose literal name has a plus sign wins."""
    parts = str(path).split("+")
    pairs = [("+".join(parts[:i]), "+".join(parts[i:])) for i in range(1, len(parts))]
    both = next(((left, right) for left, right in pairs if os.path.isdir(left) and os.path.isdir(right)), None)
    return (Path(path), None) if both is None or os.path.isdir(path) else (Path(both[0]), Path(both[1]))


def open_reference(path: str | os.PathLike[str]) -> Checkpoint:
    """Open ``BASE``, a model folder, or ``BASE+ADAPTER``, which reads like one.

    Args:
      path: as ``split_reference`` reads it.
    Returns: Checkpoint; an Expert for two folders.
    Raises:  as ``open_checkpoint`` and ``open_adapter``; BadAdapter when the two do not fit.
    """
    base, adapter = split_reference(path)
    if adapter is None:
        return open_checkpoint(base)
    with contextlib.ExitStack() as opened:
        expert = AdaptedCheckpoint(
            opened.enter_context(open_checkpoint(base)), opened.enter_context(open_adapter(adapter))
        )
        opened.pop_all()
    return expert


def _experts(
    factors: Factors, b: torch.Tensor, a: torch.Tensor, first: int, last: int, transposed: bool
) -> torch.Tensor:
    """Return s B_e A_e of some experts, each as one row."""
    rank, found = factors.rank, []
    for e in range(first, last):
        update = factors.scale * (b[:, e :: factors.experts] @ a[e * rank : (e + 1) * rank])
        found.append((update.T if transposed else update).reshape(1, -1))
    return torch.cat(found)


def _other(info: TensorInfo, name: str, shape: tuple[int, ...]) -> TensorInfo:
    """Return the description of a tensor that no file holds."""
    found = replace(info, name=name, shape=shape, begin=0, end=0)
    return replace(found, end=found.rows * found.row_nbytes)
