"""Whole reads and writes at an offset, digests of what is there, and the only ways to open a file of unknown origin.

A link is followed only to a regular file inside the model's folder, or inside the ``blobs`` folder of the same Hugging
Face cache repository; what was opened is then checked on the descriptor, so a FIFO can neither hang nor fool us.

    accept realpath(p) if inside root, or if root = R/snapshots/X and realpath(p) is inside R/blobs
    content digest = SHA-256(tensor digests as 32 raw bytes each, in the order of the sorted names)

Files are hashed side by side, and so are tensors (hashes leave the interpreter lock); the pass over a tensor checks its
values too.

Source: transformers issue 47176 (shards outside the folder were read); model-signing refuses all links.
Differs: cache links are followed, because every cached model consists of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from blake3 import blake3

from mergebarrier.checkpoint.bytes.tensors import HASHES, SHA256, Tree, check_payload
from mergebarrier.errors import ChangedDuringRun, LimitExceeded, NotACheckpoint, UnsafePath, refused_by_system
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from mergebarrier.checkpoint.bytes.tensors import TensorInfo
    from mergebarrier.progress import Progress

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MOST_BYTES = 1 << 26
_BUFFER_BYTES = 1 << 20
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def inside(path: Path, folder: Path) -> bool:
    """True when the resolved ``path`` is ``folder`` or below it."""
    return path == folder or folder in path.parents


def open_regular(root: Path, name: str) -> tuple[int, Path]:
    """Open a file of a model folder for reading.

    Args:
      root: resolved model folder.
      name: bare file name.
    Returns: file descriptor (the caller closes it) and the resolved path.
    Raises:  UnsafePath for anything but a regular file inside the folder or its cache; NotACheckpoint when absent.
    """
    path = root / name
    try:
        real = Path(os.path.realpath(path, strict=True))
    except OSError as fault:
        if os.path.islink(path):  # unlike Path.is_symlink, also of a name that no system allows
            raise UnsafePath("a broken link", where=path, remedy="download the model again") from fault
        raise NotACheckpoint("the file is missing", where=path, remedy="download the model again, all files") from fault
    cached = root.parent.name == "snapshots" and inside(real, root.parent.parent / "blobs")
    if not (inside(real, root) or cached):
        raise UnsafePath(
            "a link that leads out of the model folder", where=path, remedy="replace the link by the file it should be"
        )
    try:
        fd = os.open(real, _OPEN_FLAGS)
    except OSError as fault:
        if fault.errno == errno.EMFILE:
            raise LimitExceeded("too many open files", where=path, remedy="raise `ulimit -n`") from fault
        raise UnsafePath(
            f"cannot be opened as a regular file ({fault.strerror})", where=path, remedy="check what this file is"
        ) from fault
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UnsafePath("not a regular file", where=path, remedy="remove it; a model folder holds plain files")
    return fd, real


def read_small(root: Path, name: str, max_bytes: int) -> bytes:
    """Read a whole file of at most ``max_bytes`` bytes, through ``open_regular``."""
    fd, _ = open_regular(root, name)
    with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
        size = os.fstat(fd).st_size
        if size > max_bytes:
            raise LimitExceeded(
                f"{size} bytes, the cap is {max_bytes}", where=root / name, remedy="check that this is the right file"
            )
        text = bytearray(size)
        read_into(fd, 0, memoryview(text), root / name)
    return bytes(text)


def read_into(fd: int, offset: int, view: memoryview, where: object) -> None:
    """Fill ``view`` (bytes) from ``offset``; ChangedDuringRun when the file has become shorter."""
    done = 0
    while done < len(view):
        with on_disk(where):
            n_bytes = os.preadv(fd, [view[done : done + _MOST_BYTES]], offset + done)
        if n_bytes == 0:
            raise ChangedDuringRun(
                f"the file ends at byte {offset + done}", where=where, remedy="run again when nothing writes to it"
            )
        done += n_bytes


@contextlib.contextmanager
def on_disk(where: object) -> Iterator[None]:
    """Turn what the operating system says of a disk into NoSpace, NotWritable or DiskFailed."""
    try:
        yield
    except OSError as fault:
        if known := refused_by_system(fault, where):
            raise known from fault
        raise


def write_at(fd: int, offset: int, view: memoryview, where: object) -> None:
    """Write all of ``view`` (bytes) at ``offset``, however short single writes are."""
    done = 0
    with on_disk(where):
        while done < len(view):
            done += os.pwrite(fd, view[done : done + _MOST_BYTES], offset + done)


def sync_folder(path: Path) -> None:
    """Make renames inside a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with on_disk(path):
            os.fsync(fd)
    finally:
        os.close(fd)


class ReadDigests:
    """Collects BLAKE3 digests of one model's tensors from what is read of them, by any thread."""

    def __init__(self, found: dict[str, str]) -> None:
        """Start with what is known, name -> digest; more is added to it."""
        self.found = found
        self._trees: dict[str, Tree] = {}
        self._lock = Lock()

    def feed(self, info: TensorInfo, begin: int, view: memoryview) -> None:
        """Take the bytes of a tensor's payload from ``begin`` on."""
        with self._lock:
            if info.name in self.found:
                return
            tree = self._trees.get(info.name) or self._trees.setdefault(info.name, Tree(info))
        tree.add(begin, view)
        digest = tree.hexdigest()
        if digest is not None:
            with self._lock:
                self.found[info.name] = digest
                self._trees.pop(info.name, None)

    def still_holds(self, fd: int, info: TensorInfo, where: str) -> bool:
        """Whether a file holds the bytes of an unfinished tensor that were taken."""
        tree = self._trees.get(info.name)
        taken = () if tree is None else tree.taken()
        return all(
            range_digest(fd, info.begin + begin, info.begin + end, where) == digest for begin, end, digest in taken
        )


def range_digest(fd: int, begin: int, end: int, where: object) -> bytes:
    """BLAKE3 of bytes ``begin`` to ``end`` of a file."""
    whole = blake3()
    for piece in _pieces(fd, begin, end, where, None):
        whole.update(piece)
    return whole.digest()


def content_digest(digests: Mapping[str, str]) -> str:
    """Hash of a model's content, whatever its shards and offsets: hex SHA-256 of its tensors' digests."""
    return hashlib.sha256(b"".join(bytes.fromhex(digests[name]) for name in sorted(digests))).hexdigest()


def shard_digest(header: bytes | bytearray, digests: Iterable[str]) -> str:
    """Hash of a file of weights: hex BLAKE3 of what comes before its payload, and its tensors' digests in order."""
    return blake3(bytes(header) + b"".join(map(bytes.fromhex, digests))).hexdigest()


def hash_file(fd: int, size_bytes: int, *, where: object, tick: Callable[[int], None] | None = None) -> str:
    """Hash a whole file.

    Args:
      fd:         open for reading.
      size_bytes: of the file.
      where:      named in errors.
      tick:       called with the number of bytes after each piece.
    Returns: hex SHA-256.
    Raises:  ChangedDuringRun when the file is shorter than ``size_bytes``.
    """
    chain = hashlib.sha256()
    for piece in _pieces(fd, 0, size_bytes, where, tick):
        chain.update(piece)
    return chain.hexdigest()


def hash_tensor(
    fd: int,
    info: TensorInfo,
    *,
    where: str,
    check_values: bool,
    tick: Callable[[int], None] | None = None,
    hashing: str = SHA256,
) -> str:
    """Hash one tensor of an open shard.

    Args:
      fd:           of the shard.
      info:         the tensor.
      where:        names the tensor in errors.
      check_values: refuse NaN, Inf and bad masks; not needed for bytes whose digests are known.
      tick:         called with the number of bytes after each piece.
      hashing:      of ``HASHES``.
    Returns: hex digest.
    Raises:  ChangedDuringRun; NonFinite, BadDtype for values.
    """
    digest, begin = HASHES[hashing](info), 0
    for piece in _pieces(fd, info.begin, info.end, where, tick):
        if check_values:
            check_payload(torch.frombuffer(piece, dtype=torch.uint8), info.dtype, where=where)
        digest.add(begin, piece)
        begin += len(piece)
    return digest.hexdigest() or ""


@contextlib.contextmanager
def one_thread_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of ``workers`` threads of one kernel thread each.

    torch takes the number that any thread set last for a thread that has not computed yet: the caller's is put back.
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(max(1, workers), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def side_by_side(work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> list[_Result]:
    """Map on ``workers`` threads of one kernel thread each; after a fault, what has not begun is dropped."""
    with one_thread_pool(workers) as pool:
        return list(pool.map(work, items))


def ticker(total_bytes: int, progress: Progress | None) -> Callable[[int], None] | None:
    """Return what threads call with the bytes of each piece, so that ``progress`` gets (bytes done, bytes in all)."""
    if progress is None:
        return None
    done, lock = 0, Lock()

    def tick(n_bytes: int) -> None:
        nonlocal done
        with lock:
            done += n_bytes
            progress(done, total_bytes)

    return tick


def _pieces(fd: int, begin: int, end: int, where: object, tick: Callable[[int], None] | None) -> Iterator[memoryview]:
    """Read bytes ``begin`` to ``end`` of a file into one buffer, again and again; only the last piece may be short."""
    buffer = memoryview(bytearray(min(_BUFFER_BYTES, end - begin)))
    for start in range(begin, end, _BUFFER_BYTES):
        piece = buffer[: min(_BUFFER_BYTES, end - start)]
        read_into(fd, start, piece, where)
        yield piece
        if tick is not None:
            tick(len(piece))
