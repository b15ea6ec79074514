"""The last steps of an output, in the order that lets no reader load half a model.

Finished shards are flushed while others are still computed, on a thread of their own; an error of the disk is reported
to the first fsync that meets it and to no later one, so each flush is kept and asked for.  Weights are read back once,
for the digests of their files; they get their names, then come side files, index and config, then the manifest, and one
rename shows all of it.  The tensors' digests are those of the bytes that were handed to the operating system.  They are
taken again from the file, and compared, unless it cannot have been written to since: every unit that is finished leaves
a time of change on its file that no write does.

    verify, fsync, NAME.part -> NAME | side files | index, config.json | mergebarrier.json | rename to DIR

Source: ours.  Differs from a plain sequence of writes: config, index and manifest are flushed under draft names and
renamed together, so that a complete folder exists under DIR.partial only for microseconds.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Protocol

from mergebarrier import __version__
from mergebarrier.checkpoint.adapter import ADAPTER_CONFIG
from mergebarrier.checkpoint.bytes import (
    OutTensor,
    Shard,
    content_digest,
    hash_file,
    hash_tensor,
    side_by_side,
    sync_folder,
    ticker,
)
from mergebarrier.checkpoint.files import MANIFEST_NAME, build_manifest
from mergebarrier.checkpoint.read import ATTACHMENTS, SIDE_FILES
from mergebarrier.checkpoint.write.claim import OutputPlace, publish, remove_partial
from mergebarrier.checkpoint.write.layout import index_files, part_name
from mergebarrier.checkpoint.write.records import write_new
from mergebarrier.errors import DigestMismatch, InternalError
from mergebarrier.progress import Progress

# What makes a folder a model or an adapter for a reader.
_LAST_SIDE_FILES = ("config.json", ADAPTER_CONFIG)
# One nanosecond after 1970: a write sets the present, so finding this means that nothing was written since.
_MARK_NS = 1


def mark(fd: int) -> None:
    """Leave the mark of ``finish`` on a file whose bytes were all hashed as they were written."""
    os.utime(fd, ns=(_MARK_NS, _MARK_NS))


def _take_mark(fd: int) -> bool:
    """Say whether the mark is there, and give the file the time of now."""
    untouched = os.fstat(fd).st_mtime_ns == _MARK_NS
    os.utime(fd)
    return untouched


class Unfinished(Protocol):
    """What a commit needs of a writer."""

    place: OutputPlace
    layout: tuple[OutTensor, ...]
    shards: tuple[Shard, ...]
    plan_sha256: str

    @property
    def digests(self) -> Mapping[str, str]:
        """Tensor digests by name."""

    @property
    def fds(self) -> Mapping[str, int]:
        """Descriptors by shard name."""

    def flushed(self, shard: str) -> None:
        """Return when a shard is on the disk."""


def commit_output(
    writer: Unfinished,
    content: Mapping[str, object],
    environment: Mapping[str, object],
    side_files: Mapping[str, bytes],
    *,
    workers: int,
    progress: Progress | None,
) -> None:
    """Turn a completely written partial folder into the output; see ``Writer.commit``."""
    place = writer.place
    known = (*SIDE_FILES, *ATTACHMENTS, ADAPTER_CONFIG)
    unknown = next((name for name in side_files if name not in known), None)
    if unknown is not None:
        raise InternalError("not on the list of files that are copied", where=unknown)
    verified = _verify(writer, workers, progress)
    _name_shards(writer)
    files = {s.name: {"sha256": verified[s.name], "size_bytes": s.size_bytes} for s in writer.shards}
    last = index_files(writer.layout)
    for name in known:
        if name in _LAST_SIDE_FILES and name in side_files:
            last[name] = side_files[name]
        elif name in side_files:
            write_new(place.model / name, side_files[name])
    for name, data in (*side_files.items(), *last.items()):
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    output = {"content_digest": content_digest(writer.digests), "files": files, "tensors": dict(writer.digests)}
    last[MANIFEST_NAME] = build_manifest(
        {
            "tool": {"name": "mergebarrier", "version": __version__},
            **content,
            "output": output,
            "plan_sha256": writer.plan_sha256,
        },
        environment,
    )
    for name, data in last.items():
        write_new(place.model / (name + ".new"), data)
    sync_folder(place.model)
    for name in last:
        os.rename(place.model / (name + ".new"), place.model / name)
    publish(place)
    sync_folder(place.out)
    remove_partial(place)
    sync_folder(place.out.parent)


def _verify(writer: Unfinished, workers: int, progress: Progress | None) -> dict[str, str]:
    """Read every shard back for the digest of its file, compare those of its tensors, and flush it to the disk."""
    tick = ticker(sum(shard.size_bytes for shard in writer.shards), progress)

    def verify(shard: Shard) -> str:
        fd, where = writer.fds[shard.name], writer.place.out / shard.name
        for tensor in () if untouched[shard.name] else shard.tensors:
            place = f"{where}: tensor {tensor.name!r}"
            if hash_tensor(fd, tensor, where=place, check_values=False) != writer.digests[tensor.name]:
                raise DigestMismatch(
                    "the disk returned other bytes than were written",
                    where=place,
                    remedy="check the disk, then use --resume",
                )
        digest = hash_file(fd, shard.size_bytes, where=where, tick=tick)
        writer.flushed(shard.name)
        return digest

    untouched = {shard.name: _take_mark(writer.fds[shard.name]) for shard in writer.shards}
    verified = side_by_side(verify, writer.shards, workers)
    return {shard.name: digest for shard, digest in zip(writer.shards, verified, strict=True)}


def _name_shards(writer: Unfinished) -> None:
    for shard in writer.shards:
        os.rename(writer.place.model / part_name(shard.name), writer.place.model / shard.name)
    sync_folder(writer.place.model)


class Flusher:
    """Flushes shards of one output; ``note`` may come from any thread."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        """Expect every tensor of every shard."""
        self._shard_of = {tensor.name: shard.name for shard in shards for tensor in shard.tensors}
        self._missing = Counter(self._shard_of.values())
        self._flushes: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(1)
        self._lock = Lock()

    def note(self, names: Iterable[str], fds: dict[str, int]) -> None:
        """Take note of finished tensors, and flush the shards that are complete with them."""
        with self._lock:
            for shard in (self._shard_of[name] for name in names):
                self._missing[shard] -= 1
                if not self._missing[shard]:
                    self._flushes[shard] = self._pool.submit(os.fsync, fds[shard])

    def wait(self, shard: str, fd: int) -> None:
        """Return when a shard that is no longer written to is on the disk; OSError."""
        if shard in self._flushes:
            self._flushes[shard].result()
        else:
            os.fsync(fd)

    def close(self) -> None:
        """End the thread; flushes that have not begun are dropped."""
        self._pool.shutdown(cancel_futures=True)
