"""A validated, read-only view of a model folder: names, shapes and config as data, weights one tensor at a time.

Files are opened once and read with ``pread``: a mapped file that is truncated would kill the process, and a path
that is swapped would show other bytes.  Every float that leaves here is finite.  A tensor that is read whole, in any
pieces and order, leaves its digest, so that a run need not read or hash twice.

    identity of a file = (device, inode, size, mtime_ns, ctime_ns), taken when it was opened
    digest of a tensor = a tree, which every block of rows adds to; a chain for what asks for one (keys)

Source: POSIX.  Differs from a hash at the end of a run: a change shows in ctime, which no user can set back, and
digests are those of the bytes that the arithmetic saw.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from mergebarrier.checkpoint.bytes import (
    BLAKE3,
    CLEAN_WEIGHTS,
    SHA256,
    TORCH,
    Memory,
    ReadDigests,
    Shard,
    TensorInfo,
    check_bool,
    check_finite,
    content_digest,
    hash_tensor,
    range_digest,
    read_into,
    read_small,
    side_by_side,
    ticker,
)
from mergebarrier.checkpoint.read.code import text_without_code, without_code
from mergebarrier.checkpoint.read.walk import walk
from mergebarrier.errors import ChangedDuringRun, InternalError, RemoteCodeRefused, clean, folder_name
from mergebarrier.lazy import torch
from mergebarrier.progress import Progress
from mergebarrier.published import MODELING, PLAN

_BUFFERS_KEPT = 4
_NAMED = 8
MAX_SIDE_FILE_BYTES = 64 * 2**20
_WRITTEN_ANEW = ("model.safetensors.index.json", "mergebarrier.json")


class Checkpoint:
    """An opened model folder; made by ``open_checkpoint``, closed by ``close`` or a ``with`` block.

    Attributes:
      path:       the folder as the user gave it; ``root`` is the same, resolved.
      config:     parsed config.json; not to be changed.
      tensors:    name -> TensorInfo, in shard order and offset order.
      shards:     tuple[Shard, ...].
      side_files: names on the allow-list that the folder holds, config.json among them.
      left_out:   stored tensor that is not among ``tensors`` -> why; only a ``View`` leaves something out.
      code:       side file -> keys in it that name code; neither ``config`` nor what is copied has them.
      refused:    why nothing may be made of this folder; None for every folder that was not opened to be described.
    Reading is thread-safe.
    """

    def __init__(
        self,
        path: Path,
        root: Path,
        config: dict[str, Any],
        shards: tuple[Shard, ...],
        side_files: tuple[str, ...],
        files: dict[str, tuple[int, Path]],
    ) -> None:
        """Take over the open descriptors in ``files`` (shard name -> descriptor, resolved path)."""
        self.path, self.root, self.config, self.shards, self.side_files = path, root, config, shards, side_files
        self.tensors: dict[str, TensorInfo] = {tensor.name: tensor for shard in shards for tensor in shard.tensors}
        self.left_out: Mapping[str, str] = {}
        self.code: Mapping[str, Sequence[str]] = {}
        self.refused: RemoteCodeRefused | None = None
        self._files = files
        self._opened = {name: _identity(os.fstat(fd)) for name, (fd, _) in files.items()}
        self._digests: dict[str, dict[str, str]] = {SHA256: {}, BLAKE3: {}}
        self._reads = ReadDigests(self._digests[BLAKE3])
        heads = {shard.name: shard.tensors[0].begin if shard.tensors else shard.size_bytes for shard in shards}
        self._heads = {name: (heads[name], range_digest(fd, 0, heads[name], path)) for name, (fd, _) in files.items()}
        self._memory = Memory()
        self._lock = Lock()

    def without(self, code: Mapping[str, Sequence[str]], refused: RemoteCodeRefused | None) -> Self:
        """Leave keys out that name code; return the checkpoint itself."""
        self.code, self.refused = code, refused
        if code:
            self.config = without_code(self.config)
        return self

    def __enter__(self) -> Self:
        """Return the checkpoint itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close every descriptor; reading afterwards is a fault of the caller."""
        with self._lock:
            files, self._files = self._files, {}
        self._memory.close()
        for fd, _ in files.values():
            os.close(fd)

    @property
    def name(self) -> str:
        """What reports and messages call it: its name on the Hub where it lies in the cache, else its folder's."""
        return folder_name(self.path.absolute())

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that is read; an output may touch none of them."""
        return (self.path,)

    def as_stored(self) -> Checkpoint:
        """Return the checkpoint under its own names: itself, unless it is a ``View``."""
        return self

    def made_of(self, name: str) -> Sequence[tuple[Checkpoint, str]]:
        """Return the stored tensors that a tensor is made of."""
        return [(self, name)]

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor into memory that is its own.

        Args:
          name: a key of ``tensors``.
        Raises:  NonFinite (names file and tensor); BadDtype for a BOOL byte above 1; ChangedDuringRun; KeyError.
        """
        info = self.tensors[name]
        return self._read(info, 0, info.rows, info.shape)

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows ``start`` to ``stop`` (exclusive) of a tensor of rank >= 1; else as ``read``."""
        info = self.tensors[name]
        if not (info.shape and 0 <= start <= stop <= info.shape[0]):
            raise IndexError(f"rows {start}:{stop} of {name} with shape {info.shape}")
        return self._read(info, start, stop, (stop - start, *info.shape[1:]))

    def read_matrix_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows of a tensor of rank >= 2 seen as a matrix; else as ``read_rows``."""
        info, width = self.tensors[name], self.tensors[name].shape[-1]
        if len(info.shape) == 2:
            return self.read_rows(name, start, stop)
        return self._read(replace(info, shape=(prod(info.shape[:-1]), width)), start, stop, (stop - start, width))

    def _read(self, info: TensorInfo, start: int, stop: int, shape: tuple[int, ...]) -> torch.Tensor:
        if info.shard not in self._files:
            raise InternalError("the checkpoint is closed", where=self.path)
        where = self._where(info)
        raw = self._memory.take((stop - start) * info.row_nbytes)
        read_into(self._files[info.shard][0], info.begin + start * info.row_nbytes, raw.numpy().data, where)
        if info.dtype == "BOOL":
            check_bool(raw, where=where)
        tensor = raw.view(TORCH[info.dtype]).view(shape)
        # What has a digest is known to be finite; should its file change since, the run is refused.
        if not self._is_known(info.name):
            check_finite(tensor, info.dtype, where=where, remedy=CLEAN_WEIGHTS)
            self._reads.feed(self.tensors[info.name], start * info.row_nbytes, raw.numpy().data)
        return tensor

    def stream(self) -> None:
        """Expect one pass over all tensors, few of them at a time: buffers are used again."""
        self._memory = Memory(_BUFFERS_KEPT)

    def digest(self, name: str, hashing: str = SHA256) -> str:
        """Return the digest of one tensor, hashing it unless it is known; KeyError, or as ``read``."""
        known = self._digests[hashing]
        if name not in known:
            known[name] = self._hash(self.tensors[name], None, hashing)
        return known[name]

    def digests(self, workers: int = 1, progress: Progress | None = None, *, hashing: str = SHA256) -> dict[str, str]:
        """Hash every tensor whose digest is not known yet, and check its values; only the first call pays.

        Args:
          workers:  threads; the result does not depend on it.
          progress: called with (bytes done, bytes in all).
          hashing:  SHA256, the name of a model everywhere; BLAKE3 in what a merge writes.
        Returns: tensor name -> hex digest of name, dtype, shape and payload, in the order of ``tensors``.
        Raises:  NonFinite (names file and tensor); BadDtype for a BOOL byte above 1; ChangedDuringRun.
        """
        known = self._digests[hashing]
        missing = [info for name, info in self.tensors.items() if name not in known]
        if missing:
            tick = ticker(sum(info.nbytes for info in missing), progress)
            found = side_by_side(lambda info: self._hash(info, tick, hashing), missing, workers)
            known.update(zip((info.name for info in missing), found, strict=True))
        self.verify_unchanged()
        return {name: known[name] for name in self.tensors}

    def _is_known(self, name: str) -> bool:
        return any(name in known for known in self._digests.values())

    def _hash(self, info: TensorInfo, tick: Callable[[int], None] | None, hashing: str) -> str:
        fd, where = self._files[info.shard][0], self._where(info)
        return hash_tensor(fd, info, where=where, check_values=True, tick=tick, hashing=hashing)

    def _where(self, info: TensorInfo) -> str:
        return f"{self.path / info.shard}: tensor {info.name!r}"

    def content_digest(self, workers: int = 1, progress: Progress | None = None, *, hashing: str = SHA256) -> str:
        """Hex SHA-256 of the content, whatever its shards: the digest of the sorted tensor digests."""
        return content_digest(self.digests(workers, progress, hashing=hashing))

    def read_side_file(self, name: str) -> bytes:
        """Return the bytes of one of ``side_files``, without its keys that name code; KeyError for any other name."""
        if name not in self.side_files:
            raise KeyError(name)
        if name in self.code:
            return text_without_code(self.root, name, MAX_SIDE_FILE_BYTES)
        return read_small(self.root, name, MAX_SIDE_FILE_BYTES)

    @property
    def left_behind(self) -> tuple[str, ...]:
        """Names in the folder that no output gets: weights of other formats, code, folders, records of a training."""
        ours = {shard.name for shard in self.shards} | {*self.side_files, *_WRITTEN_ANEW}
        entered = {name.partition("/")[0] for name in self.side_files if "/" in name}
        inside = [f"{folder}/{entry.name}" for folder in entered for entry in walk(self.root / folder)]
        found = (name for name in [*os.listdir(self.root), *inside] if name not in ours | entered)
        return tuple(sorted(name for name in found if "/." not in f"/{name}"))

    @property
    def folder_notes(self) -> tuple[str, ...]:
        """What no output gets of the folder, and what of its configuration; a line each."""
        ours = PLAN in self.config  # what is written of it has our class again, or is of a stock class
        behind, notes = [name for name in self.left_behind if not (ours and name == MODELING)], []
        for name, keys in self.code.items():
            if ours and name == "config.json":
                continue
            notes.append(f"{self.name}: {', '.join(map(clean, keys))} of {name} left out: no code is run, none needed")
        more = f" and {len(behind) - _NAMED} more" if len(behind) > _NAMED else ""
        kept = [name for name in self.side_files if name.endswith(".safetensors")]
        if kept:
            notes.append(f"{self.name}: {', '.join(kept)} copied as they are: weights of modules beside the model")
        if behind:
            notes.append(f"{self.name}: {', '.join(map(clean, behind[:_NAMED]))}{more} of its folder stay behind")
        return tuple(notes)

    def verify_unchanged(self) -> None:
        """Raise ChangedDuringRun when a shard was written, truncated or replaced since it was opened.

        A backup, a hard link or a chmod moves ctime alone: then the bytes that were read are compared by digest.
        """
        for name, (fd, real) in self._files.items():
            now: set[tuple[int, ...]] = set()
            with suppress(FileNotFoundError):
                now = {_identity(os.fstat(fd)), _identity(os.stat(real, follow_symlinks=False))}
            if len(now) == 1 and self._is_as_read(name, fd, now):
                self._opened[name] = now.pop()
            elif now != {self._opened[name]}:
                raise ChangedDuringRun(
                    "the file was changed or replaced while it was read",
                    where=self.path / name,
                    remedy="run again when nothing writes to it",
                )

    def _is_as_read(self, name: str, fd: int, now: set[tuple[int, ...]]) -> bool:
        """Say whether a shard of another ctime alone still holds what was read of it; the rest matters to nobody."""
        (identity,) = now
        if identity == self._opened[name] or identity[:-1] != self._opened[name][:-1]:
            return False
        end, head = self._heads[name]
        tensors = next(shard.tensors for shard in self.shards if shard.name == name)
        return range_digest(fd, 0, end, self.path / name) == head and all(self._holds(fd, info) for info in tensors)

    def _holds(self, fd: int, info: TensorInfo) -> bool:
        where = self._where(info)
        known = {hashing: found[info.name] for hashing, found in self._digests.items() if info.name in found}
        for hashing, digest in known.items():
            if hash_tensor(fd, info, where=where, check_values=False, hashing=hashing) != digest:
                return False
        return bool(known) or self._reads.still_holds(fd, info, where)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
