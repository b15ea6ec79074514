"""The place of every byte of an output, known before a number is computed, and the files that are made for it.

The layout fixes the headers, hence all offsets; ranges of different tensors are disjoint, so workers share nothing.
The header is byte for byte what the safetensors library writes for the same order.  Files are made at full size, or
taken over from a run that died; a full disk is met now, not later.

    file = u64le(n) | compact JSON, padded with blanks to a multiple of 8 (n bytes) | payloads back to back
    model/NAME.part : header, then a hole as long as the payloads   (posix_fallocate)

Source: safetensors 0.8.0 ``serialize``; POSIX.  Differs: offset order and shard boundaries are those of the input, and
a file that an earlier run had already verified and renamed is renamed back: only the records decide what is complete.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mergebarrier import __version__
from mergebarrier.checkpoint.adapter import ADAPTER_WEIGHTS
from mergebarrier.checkpoint.bytes import (
    SHA256,
    TORCH,
    OutTensor,
    Shard,
    TensorInfo,
    on_disk,
    parse_text,
    read_small,
    sync_folder,
    write_at,
)
from mergebarrier.checkpoint.files import MANIFEST_NAME, canonical_json
from mergebarrier.checkpoint.read import INDEX, SHARD_NAME, SINGLE, Checkpoint
from mergebarrier.checkpoint.write.place import OutputPlace, check_space, remove_tree
from mergebarrier.errors import CheckpointError, InternalError, PartialOutput, UnsafePath

_MAX_PLAN_BYTES = 256 * 2**20
_ZEROS = bytes(1 << 22)


def layout_like(checkpoint: Checkpoint) -> tuple[OutTensor, ...]:
    """Return the layout of an input: same names, dtypes, shapes, shards and offset order."""
    return tuple(OutTensor(t.name, t.dtype, t.shape, t.shard) for t in checkpoint.tensors.values())


def sharded(layout: Sequence[OutTensor], most: int | None, sizes: Sequence[int] | None = None) -> tuple[OutTensor, ...]:
    """Return a layout whose shards are filled, in its order, to a size; a tensor that is larger has one of its own.

    Args:
      layout: of an output.
      most:   bytes of a shard, or what ``sizes`` counts; None leaves the shards as they are.
      sizes:  one per tensor.
    """
    if most is None:
        return tuple(layout)
    filled, numbers, number = 0, list[int](), 1
    for size in sizes or [tensor.nbytes for tensor in layout]:
        if filled and filled + size > most:
            number, filled = number + 1, 0
        filled += size
        numbers.append(number)
    files = [f"model-{n:05d}-of-{number:05d}.safetensors" if number > 1 else "model.safetensors" for n in numbers]
    return tuple(replace(tensor, shard=file) for tensor, file in zip(layout, files, strict=True))


def plan_shards(layout: Sequence[OutTensor]) -> tuple[tuple[Shard, bytes], ...]:
    """Lay out every shard.

    Args:
      layout: tensors, those of one shard in offset order.
    Returns: (shard with absolute byte ranges, the bytes before its payload) per shard, in the order of first use.
    Raises:  InternalError for a repeated tensor, an unknown dtype or a name that is not a shard's.
    """
    members: dict[str, list[OutTensor]] = {}
    seen: dict[str, None] = {}
    for tensor in layout:
        if tensor.name in seen or tensor.dtype not in TORCH or not SHARD_NAME.fullmatch(tensor.shard):
            raise InternalError("a layout repeats a tensor, or its dtype or shard name is unknown", where=tensor.name)
        seen[tensor.name] = None
        members.setdefault(tensor.shard, []).append(tensor)
    if not members or (SINGLE in members and len(members) > 1):
        raise InternalError(f"a layout needs tensors, and {SINGLE} must be the only file")
    return tuple(_plan_shard(name, tensors) for name, tensors in members.items())


def _plan_shard(name: str, tensors: Sequence[OutTensor]) -> tuple[Shard, bytes]:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for tensor in tensors:
        end = position + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start, infos = 8 + len(text), []
    for tensor in tensors:
        infos.append(TensorInfo(tensor.name, tensor.dtype, tensor.shape, name, start, start + tensor.nbytes))
        start += tensor.nbytes
    return Shard(name, start, tuple(infos)), len(text).to_bytes(8, "little") + text


def plan_document(plan: Mapping[str, object], layout: Sequence[OutTensor], hashing: str) -> bytes:
    """Return the bytes of plan.json: two runs may share a partial output only if these agree."""
    tensors = [[t.name, t.dtype, list(t.shape), t.shard] for t in layout]
    more = {} if hashing == SHA256 else {"hashing": hashing}
    return canonical_json({"layout": tensors, "plan": dict(plan), "version": __version__, **more})


def plan_digest(document: bytes) -> str:
    """Hex SHA-256 of a plan document."""
    return hashlib.sha256(document).hexdigest()


def index_files(layout: Sequence[OutTensor]) -> dict[str, bytes]:
    """Return {name: bytes} of the shard index; empty for a model in one file."""
    if all(tensor.shard in (SINGLE, ADAPTER_WEIGHTS) for tensor in layout):
        return {}
    document = {
        "metadata": {
            "total_parameters": sum(_numel(tensor) for tensor in layout),
            "total_size": sum(tensor.nbytes for tensor in layout),
        },
        "weight_map": {tensor.name: tensor.shard for tensor in layout},
    }
    return {INDEX: json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"}


def _numel(tensor: OutTensor) -> int:
    return tensor.nbytes // (TORCH[tensor.dtype].itemsize)


def part_name(shard: str) -> str:
    """File name of a shard until it is verified."""
    return shard + ".part"


def draft_name(name: str) -> str:
    """Return the name of a file that makes a folder load until all of it is there."""
    return name + ".new"


def open_parts(place: OutputPlace, shards: Sequence[tuple[Shard, bytes]], plan: bytes) -> dict[str, int]:
    """Make the partial folder's files, or take over those that are there.

    Args:
      place:  claimed and locked.
      shards: (shard, bytes before its payload).
      plan:   bytes of plan.json; a folder that holds other ones is refused.
    Returns: shard name -> descriptor open for reading and writing, file allocated, header written.
    Raises:  PartialOutput, NoSpace, UnsafePath.
    """
    resumed = _take_plan(place, plan)
    if resumed:
        _rewind(place, [shard.name for shard, _ in shards])
    present = sum(path.stat().st_blocks * 512 for path in place.model.iterdir()) if place.model.is_dir() else 0
    try:
        check_space(place, max(0, sum(shard.size_bytes for shard, _ in shards) - present))
        if not resumed:
            _write_plan(place, plan)
        place.tasks.mkdir(exist_ok=True)
        place.model.mkdir(exist_ok=True)
        fds: dict[str, int] = {}
        try:
            for shard, header in shards:
                fds[shard.name] = _open_part(place.model / part_name(shard.name), shard.size_bytes)
                write_at(fds[shard.name], 0, memoryview(header), place.out / shard.name)
        except BaseException:
            for fd in fds.values():
                os.close(fd)
            raise
    except CheckpointError:
        if not resumed:
            remove_tree(place.partial)
        raise
    return fds


def _take_plan(place: OutputPlace, plan: bytes) -> bool:
    """True when the folder holds this plan; False, and emptied, when it holds none."""
    if not place.plan.exists():
        for leftover in ("model", "tasks"):
            with contextlib.suppress(FileNotFoundError):
                remove_tree(place.partial / leftover)
        return False
    begun = read_small(place.partial.resolve(), place.plan.name, _MAX_PLAN_BYTES)
    if begun != plan:
        from mergebarrier.checkpoint.write.differences import differences

        said = differences(begun, plan)
        raise PartialOutput(
            "the unfinished run had other inputs, options, key or version" + (f": {said}" if said else ""),
            where=place.plan,
            remedy="repeat the command that started it, or start again with --overwrite",
        )
    return True


def planned_shards(plan: Path) -> frozenset[str]:
    """Return the names of the shards that a plan document lays out; none for a file that is no plan."""
    try:
        text = read_small(plan.parent.resolve(), plan.name, _MAX_PLAN_BYTES)
        document = parse_text(text, partial(PartialOutput, where=plan), where=plan)
        shards = frozenset(shard for *_, shard in document["layout"])
        return frozenset(shard for shard in shards if SHARD_NAME.fullmatch(shard))
    except (CheckpointError, ValueError, KeyError, TypeError):
        return frozenset()


def _write_plan(place: OutputPlace, plan: bytes) -> None:
    place.plan_draft.unlink(missing_ok=True)
    write_new(place.plan_draft, plan)
    os.rename(place.plan_draft, place.plan)
    sync_folder(place.partial)


def _rewind(place: OutputPlace, shard_names: Sequence[str]) -> None:
    """Undo the last steps of a commit that was cut short."""
    if not place.model.is_dir():
        return
    for name in shard_names:
        with contextlib.suppress(FileNotFoundError):
            os.rename(place.model / name, place.model / part_name(name))
    kept = {part_name(name) for name in shard_names}
    # The manifest or its draft goes last: it says that the others are ours.
    for path in sorted(place.model.iterdir(), key=lambda path: path.name.startswith(MANIFEST_NAME)):
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        elif path.name not in kept:
            path.unlink()


def _open_part(path: Path, size_bytes: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with on_disk(path):
        fd = os.open(path, flags, 0o666)
        return _sized(fd, size_bytes, path)


def _sized(fd: int, size_bytes: int, path: Path) -> int:
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise UnsafePath(
                "not a regular file written by mergebarrier", where=path, remedy="remove the partial folder"
            )
        if status.st_size != size_bytes:
            os.ftruncate(fd, 0)
            _allocate(fd, size_bytes, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _allocate(fd: int, size_bytes: int, path: Path) -> None:
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as fault:
        if fault.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        for start in range(0, size_bytes, len(_ZEROS)):
            write_at(fd, start, memoryview(_ZEROS)[: size_bytes - start], path)


def write_below(folder: Path, name: str, data: bytes) -> None:
    """Write a file of an output, in a folder of its own where its name says so; all of it is on the disk then."""
    path = folder / name
    if "/" in name:
        with on_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    write_new(path, data)
    for above in [*path.relative_to(folder).parents][:-1]:
        sync_folder(folder / above)


def write_new(path: Path, data: bytes) -> None:
    """Write and fsync a file that must not exist yet; mode 0666 less the umask."""
    with on_disk(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            write_at(fd, 0, memoryview(data), path)
            os.fsync(fd)
        finally:
            os.close(fd)
