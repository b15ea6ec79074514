"""A base with an adapter on it, seen as one model: read-only, one tensor at a time, nothing copied.

    W = round(W_0 + s B A)      W_0 stored (out, in);      round(W_0 + (s B A)^T)  where it is stored (in, out)
    DoRA: W = round(m_j (W_0 + s B A)_j / |(W_0 + s B A)_j|)  for every output row j

Source: LoRA, arXiv 2106.09685; DoRA, arXiv 2402.09353; names and layouts of peft 0.21.2.  Differs from a merge by peft:
computed in float64 and rounded once to the dtype of the base, in row blocks of a fixed size, so that rows read alone
have the same bits.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeAlias

import torch

from mergebarrier.checkpoint.adapter.adapter import Adapter, Factors, open_adapter
from mergebarrier.checkpoint.adapter.config import INSTEAD
from mergebarrier.checkpoint.bytes import FLOATS, TORCH, TensorInfo, check_finite, new_tensor_hash
from mergebarrier.checkpoint.read import Checkpoint, open_checkpoint
from mergebarrier.errors import AdapterRefused, BadAdapter, clean
from mergebarrier.progress import Progress

_BLOCK_ELEMENTS = 1 << 18
#: From the name of a tensor to that of the same tensor in a base.
Finder: TypeAlias = Callable[[str], str | None]


@dataclass(frozen=True)
class WeightChange:
    """What an adapter does to one tensor of the base: a whole tensor in its place, an update of it, or both."""

    whole: TensorInfo | None
    factors: Factors | None
    transposed: bool


class AdaptedCheckpoint(Checkpoint):
    """A base with an adapter; made of two opened folders, which ``close`` closes.

    Args:
      base:    the model that the adapter was trained on.
      adapter: its LoRA.
      find:    the base's name of a tensor in another spelling, None where there is none; as ``arch.finder`` gives it.
    Attributes: as of Checkpoint, all of them the base's; besides
      base, adapter: as given.
      changes:       tensor name -> WeightChange, of every tensor that differs from the base's.
    Raises: BadAdapter when the base lacks a target, or has it in another shape; names both.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter, find: Finder | None = None) -> None:
        """Find every tensor of the adapter in the base."""
        name = Path(f"{base.path.name}+{adapter.path.name}")
        super().__init__(base.path.parent / name, base.root, base.config, base.shards, base.side_files, {})
        self.base, self.adapter = base, adapter
        self.changes: Mapping[str, WeightChange] = place(adapter, base, find)
        self._changed: dict[str, str] = {}

    @property
    def folders(self) -> tuple[Path, ...]:
        """Both folders."""
        return self.base.path, self.adapter.path

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
        out = torch.empty((stop - start, *info.shape[1:]), dtype=TORCH[self.tensors[name].dtype])
        step = max(1, _BLOCK_ELEMENTS // max(1, info.numel // info.rows))
        left, right = self._factors(change, start // step * step, min(-(-stop // step) * step, info.rows))
        for first in range(start // step * step, stop, step):
            last = min(first + step, info.rows)
            if change.whole is not None:
                rows = self.adapter.weights.read_rows(change.whole.name, first, last).double()
            else:
                rows = self.base.read_rows(name, first, last).double()
            if left is not None and right is not None:
                place = first - start // step * step
                rows = rows.addmm_(left[place : place + last - first], right)
            if change.factors is not None and change.factors.magnitude is not None:
                lengths = self.adapter.weights.read_rows(change.factors.magnitude.name, first, last).double()
                rows.mul_((lengths / rows.norm(dim=1))[:, None])
            begin, end = max(first, start), min(last, stop)
            out[begin - start : end - start] = rows[begin - first : end - first]
        where = f"{self.path}: tensor {name!r}"
        check_finite(out, info.dtype, where=where, remedy="the update does not fit the base's dtype")
        return out

    def _factors(self, change: WeightChange, start: int, stop: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the rows on disk of the update as a product."""
        factors, weights = change.factors, self.adapter.weights
        if factors is None:
            return None, None
        if change.transposed:
            b, a = self.adapter.read(factors.module)
            return a.T[start:stop].contiguous(), b.T.mul(factors.scale)
        rows = weights.read_rows(factors.b.name, start, stop).double()
        return rows.mul_(factors.scale), weights.read(factors.a.name).double()

    def stream(self) -> None:
        """Expect one pass over all tensors of both folders; as ``Checkpoint.stream``."""
        self.base.stream()
        self.adapter.weights.stream()

    def digest(self, name: str) -> str:
        """Return the digest of one tensor as it is read here; as ``Checkpoint.digest``."""
        if name not in self.changes:
            return self.base.digest(name)
        if name not in self._changed:
            info = self.tensors[name]
            chain = new_tensor_hash(name, info.dtype, info.shape)
            chain.update(self.read(name).reshape(-1).view(torch.uint8).numpy().data)
            self._changed[name] = chain.hexdigest()
        return self._changed[name]

    def digests(self, workers: int = 1, progress: Progress | None = None) -> dict[str, str]:
        """Hash every tensor as it is read here; as ``Checkpoint.digests``, after one pass over both folders."""
        found = self.base.digests(workers, progress)
        self.adapter.weights.digests(workers)
        return found | {name: self.digest(name) for name in self.changes}

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


def place(adapter: Adapter, base: Checkpoint, find: Finder | None = None) -> dict[str, WeightChange]:
    """Return what the adapter does to the tensors of a base, in the base's order; ``find`` knows other spellings.

    Raises: BadAdapter when a target is not there, has another shape, or is tied to a tensor that is not adapted;
            AdapterRefused for DoRA of a transposed weight.
    """
    changes: dict[str, WeightChange] = {}
    for theirs, info in adapter.whole.items():
        name = _find(adapter, base, find, theirs, info.name)
        _check_whole(adapter, base, name, info)
        changes[name] = WeightChange(info, None, False)
    layouts = {module: _layout(adapter, base, find, factors) for module, factors in adapter.factors.items()}
    swapped = [module for module, (_, _, sure) in layouts.items() if sure is False]
    for module, (name, transposed, sure) in layouts.items():
        if sure is None and swapped and not adapter.factors[module].embedding:
            raise _refuse(
                adapter,
                adapter.factors[module].a.name,
                f"fan_in_fan_out is {adapter.config.fan_in_fan_out}, which is wrong for {clean(swapped[0])}, and the "
                "square matrix here leaves open what is right",
                "correct fan_in_fan_out in adapter_config.json",
            )
        before = changes.get(name)
        if before is not None and before.factors is not None:
            raise _refuse(
                adapter, adapter.factors[module].a.name, f"{clean(name)} is updated twice", "keep one of them"
            )
        if transposed and adapter.factors[module].magnitude is not None:
            where = f"{adapter.path}: tensor {clean(adapter.factors[module].a.name)!r}"
            raise AdapterRefused("DoRA of a weight stored (in, out) is not read", where=where, remedy=INSTEAD)
        changes[name] = WeightChange(before.whole if before else None, adapter.factors[module], transposed)
    return {name: changes[name] for name in base.tensors if name in changes}


def _refuse(adapter: Adapter, tensor: str, what: str, remedy: str) -> BadAdapter:
    return BadAdapter(what, where=f"{adapter.path}: tensor {clean(tensor)!r}", remedy=remedy)


def _find(adapter: Adapter, base: Checkpoint, find: Finder | None, name: str, tensor: str) -> str:
    """Return the base's name of a tensor; a base saved without its head may lack the first part of it."""
    short = name.partition(".")[2]
    bare = not any(theirs.startswith(name[: len(name) - len(short)]) for theirs in base.tensors)
    for candidate in (name, *([short] if bare else []), *([find(name)] if find is not None else [])):
        if candidate is not None and candidate in base.tensors:
            return candidate
    tied = base.config.get("tie_word_embeddings") is True and name.startswith("lm_head.")
    why = ", where the head is tied to the embedding" if tied else ""
    raise _refuse(
        adapter, tensor, f"the base {base.path.name} has no {clean(name)}{why}", "give the base that it was trained on"
    )


def _check_whole(adapter: Adapter, base: Checkpoint, name: str, info: TensorInfo) -> None:
    theirs = base.tensors[name]
    if theirs.shape != info.shape or theirs.dtype not in FLOATS:
        what = f"shape {info.shape}, {clean(name)} of the base {base.path.name} is {theirs.dtype} {theirs.shape}"
        raise _refuse(adapter, info.name, what, "give the base that it was trained on")
    _check_untied(adapter, base, name, info.name)


def _check_untied(adapter: Adapter, base: Checkpoint, name: str, tensor: str) -> None:
    """Refuse to change an embedding that is also the head: the adapter was trained on one of the two."""
    shape, rows = base.tensors[name].shape, base.config.get("vocab_size")
    if base.config.get("tie_word_embeddings") is True and len(shape) == 2 and shape[0] == rows:
        what = (
            f"{clean(name)} of the base {base.path.name} is also its head, and the adapter was trained on one of them"
        )
        raise _refuse(adapter, tensor, what, "untie the base, or merge with peft")


def _layout(adapter: Adapter, base: Checkpoint, find: Finder | None, factors: Factors) -> tuple[str, bool, bool | None]:
    """Return the tensor of a module, whether it is stored transposed, and whether the configuration says so.

    The last is None where the matrix is square and the shape cannot tell.
    """
    name = _find(adapter, base, find, factors.module + ".weight", factors.a.name)
    shape, plain = base.tensors[name].shape, factors.shape
    flag = factors.embedding or adapter.config.fan_in_fan_out
    if base.tensors[name].dtype not in FLOATS or shape not in (plain, plain[::-1]):
        raise _refuse(
            adapter,
            factors.a.name,
            f"its update has shape {plain}, {clean(name)} of the base {base.path.name} has {shape}",
            "give the base that it was trained on",
        )
    if factors.embedding:
        if shape != plain[::-1]:
            raise _refuse(adapter, factors.a.name, f"{clean(name)} is not an embedding of its shape", "check the base")
        _check_untied(adapter, base, name, factors.a.name)
        return name, True, None
    if plain[0] == plain[1]:
        return name, flag, None
    return name, shape != plain, (shape != plain) == flag
