"""How far an output is, and its last steps, in the order that lets no crash and no reader take a hole for weights.

A record of a finished unit is written after its bytes and is believed only when they still have its digests.  Finished
shards are flushed while others are still computed, on a thread of their own; an error of the disk is reported to the
first fsync that meets it and to no later one, so each flush is kept and asked for.  Where files are named by SHA-256,
weights are read back once for it; the manifest is drafted, they get their names, then come side files, index and
config, and one rename shows all of it.  The tensors' digests are those of the bytes that were handed to the operating
system.  They are taken again from the file, and compared, unless it cannot have been written to since: every unit that
is finished leaves a time of change on its file that no write does.

    tasks/<SHA-256(unit name)[:32]>.done = {"made_of": .., "plan": digest, "tensors": {name: digest}, "unit": name}
    verify, fsync, mergebarrier.json.new | NAME.part -> NAME | side files | index, config.json | rename to DIR

What a unit was made of (digests of the inputs' tensors) is kept for a run that resumes, and not judged here.

Source: ours.  Differs from a journal with an fsync per unit: the check at resume costs one read then instead of a disk
flush per unit always.  Differs from a plain sequence of writes: config, index and manifest are flushed under draft
names and renamed together, so that a complete folder exists under DIR.partial only for microseconds.
"""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from mergebarrier import __version__
from mergebarrier.checkpoint.adapter import ADAPTER_CONFIG
from mergebarrier.checkpoint.bytes import (
    BLAKE3,
    HASHES,
    OutTensor,
    Shard,
    TensorInfo,
    content_digest,
    hash_file,
    hash_tensor,
    on_disk,
    parse_bounded,
    read_into,
    read_small,
    shard_digest,
    side_by_side,
    sync_folder,
    ticker,
    write_at,
)
from mergebarrier.checkpoint.files import MANIFEST_NAME, build_manifest, canonical_json
from mergebarrier.checkpoint.read import ATTACHMENTS, SIDE_FILES, is_below, is_text
from mergebarrier.checkpoint.write.layout import draft_name, index_files, part_name, write_below, write_new
from mergebarrier.checkpoint.write.place import OutputPlace, close_partial, publish
from mergebarrier.errors import BadManifest, CheckpointError, DigestMismatch, InternalError
from mergebarrier.progress import Progress
from mergebarrier.published import MODELING

_MAX_BYTES = 64 * 2**20
_MAX_VALUES = 2_000_000


@dataclass(frozen=True)
class UnitRecord:
    """What a finished unit left: the digests of its tensors, and what it was made of, or None."""

    tensors: Mapping[str, str]
    made_of: Any = None


def write_record(tasks: Path, unit: str, plan_sha256: str, record: UnitRecord) -> None:
    """Write the record of one unit, by rename, so that it is whole or absent."""
    path = tasks / f"{hashlib.sha256(unit.encode()).hexdigest()[:32]}.done"
    draft = path.with_suffix(".new")
    with on_disk(path):
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            table = {"plan": plan_sha256, "tensors": dict(record.tensors), "unit": unit, "made_of": record.made_of}
            write_at(fd, 0, memoryview(canonical_json(table)), path)
        finally:
            os.close(fd)
        os.rename(draft, path)


def read_records(tasks: Path, plan_sha256: str) -> dict[str, UnitRecord]:
    """Return {unit: record} of every well-formed record of this plan; others are left out and redone."""
    found: dict[str, UnitRecord] = {}
    for name in sorted(os.listdir(tasks)):
        if not name.endswith(".done"):
            continue
        with contextlib.suppress(CheckpointError):
            document = parse_bounded(
                read_small(tasks.resolve(), name, _MAX_BYTES),
                BadManifest,
                max_depth=4,
                max_values=_MAX_VALUES,
                where=name,
                remedy="",
            )
            if isinstance(document, dict) and document.get("plan") == plan_sha256:
                found[str(document["unit"])] = UnitRecord(dict(document["tensors"]), document["made_of"])
    return found


class Filling:
    """The state of a tensor between its first piece and ``finish``; not shared between threads."""

    def __init__(self, info: TensorInfo, hashing: str) -> None:
        """Begin the digest."""
        self.info, self._digest, self._pieces = info, HASHES[hashing](info), list[tuple[int, int]]()

    def add(self, start: int, stop: int, content: memoryview) -> None:
        """Note that rows ``start`` to ``stop`` (exclusive) were written with these bytes."""
        self._pieces.append((start, stop))
        self._digest.add(start * self.info.row_nbytes, content)

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        reached = 0
        for start, stop in sorted(self._pieces):
            if start > reached:
                return False
            reached = max(reached, stop)
        return reached >= self.info.rows or not self.info.numel

    @property
    def digest(self) -> str | None:
        """The digest, if it could be taken from the pieces; None when the bytes must be read again for it."""
        once = sum(stop - start for start, stop in self._pieces) <= self.info.rows
        return self._digest.hexdigest() if once else None


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
    hashing: str

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
    seal: Callable[[bytes], Mapping[str, str]] | None = None,
) -> None:
    """Turn a completely written partial folder into the output; see ``Writer.commit``."""
    place = writer.place
    known = (*SIDE_FILES, *ATTACHMENTS, ADAPTER_CONFIG, MODELING)
    texts = tuple(name for name in side_files if name not in known and (is_text(name) or is_below(name)))
    unknown = next((name for name in side_files if name not in (*known, *texts)), None)
    if unknown is not None:
        raise InternalError("not on the list of files that are copied", where=unknown)
    verified = _verify(writer, workers, progress)
    files: dict[str, dict[str, object]] = {
        s.name: {writer.hashing: verified[s.name], "size_bytes": s.size_bytes} for s in writer.shards
    }
    last = index_files(writer.layout) | {name: side_files[name] for name in _LAST_SIDE_FILES if name in side_files}
    for name, data in (*side_files.items(), *last.items()):
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    output = {"content_digest": content_digest(writer.digests), "files": files, "tensors": dict(writer.digests)}
    manifest = build_manifest(
        {
            "tool": {"name": "mergebarrier", "version": __version__},
            **content,
            "output": output,
            "plan_sha256": writer.plan_sha256,
        },
        environment,
        seal,
        writer.hashing,
    )
    drafts = {name: place.model / draft_name(name) for name in (MANIFEST_NAME, *last)}
    write_new(drafts[MANIFEST_NAME], manifest)  # before what it lists: it says that all of that is ours
    _name_shards(writer)
    for name in (*known, *texts):
        if name in side_files and name not in last:
            write_below(place.model, name, side_files[name])
    for name, data in last.items():
        write_new(drafts[name], data)
    sync_folder(place.model)
    for name, draft in drafts.items():  # last of all what makes it load
        os.rename(draft, place.model / name)
    publish(place)
    sync_folder(place.out)
    sync_folder(place.out.parent)
    close_partial(place)


def _verify(writer: Unfinished, workers: int, progress: Progress | None) -> dict[str, str]:
    """Return the digest of every shard once it is on the disk, having read back what may not be as it was written."""
    tick = ticker(sum(shard.size_bytes for shard in writer.shards), progress)

    def verify(shard: Shard) -> str:
        fd, where = writer.fds[shard.name], writer.place.out / shard.name
        for tensor in () if untouched[shard.name] else shard.tensors:
            place = f"{where}: tensor {tensor.name!r}"
            found = hash_tensor(fd, tensor, where=place, check_values=False, hashing=writer.hashing)
            if found != writer.digests[tensor.name]:
                raise DigestMismatch(
                    "the disk returned other bytes than were written",
                    where=place,
                    remedy="check the disk, then run it again with --resume",
                )
        if writer.hashing == BLAKE3:
            header = bytearray(shard.tensors[0].begin)
            read_into(fd, 0, memoryview(header), where)
            digest = shard_digest(header, [writer.digests[tensor.name] for tensor in shard.tensors])
        else:
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
