"""Whole reads and writes at an offset, digests of what is there, and the only ways to open a file of unknown origin.

A link is followed only to a regular file inside the model's folder, or inside the ``blobs`` folder of the same Hugging
Face cache repository; what was opened is then checked on the descriptor, so a FIFO can neither hang nor fool us.

    accept realpath(p) if inside root, or if root = R/snapshots/X and realpath(p) is inside R/blobs
    tensor digest = SHA-256(name 0x00 dtype 0x00 shape-as-"a,b,c" 0x00 payload)
    content digest = SHA-256(tensor digests as 32 raw bytes each, in the order of the sorted names)

A digest is one chain and takes one thread, so files are hashed side by side, and so are tensors (hashlib leaves the
interpreter lock); the pass over a tensor checks its values too.

Source: FIPS 180-4; transformers issue 47176 (shards outside the folder were read); model-signing refuses all links.
Differs: cache links are followed, because every cached model consists of them.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, get_ident
from typing import TypeVar

import torch

from mergebarrier.checkpoint.bytes.tensors import TensorInfo, check_payload
from mergebarrier.errors import ChangedDuringRun, LimitExceeded, NoSpace, NotACheckpoint, UnsafePath
from mergebarrier.progress import Progress

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MOST_BYTES = 1 << 26
_BUFFER_BYTES = 1 << 20
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        if path.is_symlink():
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
        n_bytes = os.preadv(fd, [view[done : done + _MOST_BYTES]], offset + done)
        if n_bytes == 0:
            raise ChangedDuringRun(
                f"the file ends at byte {offset + done}", where=where, remedy="run again when nothing writes to it"
            )
        done += n_bytes


@contextlib.contextmanager
def full_disk(where: object) -> Iterator[None]:
    """Turn "no space left" of the operating system into NoSpace."""
    try:
        yield
    except OSError as fault:
        if fault.errno in _FULL:
            raise NoSpace(
                f"the disk refused a write ({fault.strerror})", where=where, remedy="free space, then use --resume"
            ) from fault
        raise


def write_at(fd: int, offset: int, view: memoryview, where: object) -> None:
    """Write all of ``view`` (bytes) at ``offset``, however short single writes are."""
    done = 0
    with full_disk(where):
        while done < len(view):
            done += os.pwrite(fd, view[done : done + _MOST_BYTES], offset + done)


def sync_folder(path: Path) -> None:
    """Make renames inside a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def new_tensor_hash(name: str, dtype: str, shape: Sequence[int]) -> "hashlib._Hash":
    """Return a SHA-256 that has seen a tensor's name, dtype and shape, and waits for the payload."""
    return hashlib.sha256(b"\0".join((name.encode(), dtype.encode(), ",".join(map(str, shape)).encode(), b"")))


class ReadDigests:
    """Collects digests of one model's tensors; ``feed`` is called by any thread."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self.found: dict[str, str] = {}
        self._chains: dict[tuple[int, str], tuple[hashlib._Hash, int]] = {}
        self._lock = Lock()

    def feed(self, info: TensorInfo, start: int, stop: int, view: memoryview) -> None:
        """Take rows ``start`` to ``stop`` (exclusive) of a tensor; a scalar is one row."""
        if info.name in self.found:
            return
        key = get_ident(), info.name
        with self._lock:
            chain, expected = self._chains.pop(key, (None, 0))
        if start == 0:
            chain, expected = new_tensor_hash(info.name, info.dtype, info.shape), 0
        if chain is None or start != expected:
            return
        chain.update(view)
        with self._lock:
            if stop == info.rows:
                self.found[info.name] = chain.hexdigest()
            else:
                self._chains[key] = chain, stop


def content_digest(digests: Mapping[str, str]) -> str:
    """Hash of a model's content, independent of shards and offsets.

    Args:
      digests: tensor name -> tensor digest (hex).
    Returns: hex SHA-256.
    """
    return hashlib.sha256(b"".join(bytes.fromhex(digests[name]) for name in sorted(digests))).hexdigest()


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
        chain.update(piece.numpy().data)
    return chain.hexdigest()


def hash_tensor(
    fd: int, info: TensorInfo, *, where: str, check_values: bool, tick: Callable[[int], None] | None = None
) -> str:
    """Hash one tensor of an open shard.

    Args:
      fd:           of the shard.
      info:         the tensor.
      where:        names the tensor in errors.
      check_values: refuse NaN, Inf and bad masks; not needed for bytes whose digests are known.
      tick:         called with the number of bytes after each piece.
    Returns: hex digest.
    Raises:  ChangedDuringRun; NonFinite, BadDtype for values.
    """
    chain = new_tensor_hash(info.name, info.dtype, info.shape)
    for piece in _pieces(fd, info.begin, info.end, where, tick):
        if check_values:
            check_payload(piece, info.dtype, where=where)
        chain.update(piece.numpy().data)
    return chain.hexdigest()


def side_by_side(work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> list[_Result]:
    """Map on ``workers`` threads of one kernel thread each; after a fault, what has not begun is dropped."""
    with ThreadPoolExecutor(max(1, workers), initializer=torch.set_num_threads, initargs=(1,)) as pool:
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


def _pieces(fd: int, begin: int, end: int, where: object, tick: Callable[[int], None] | None) -> Iterator[torch.Tensor]:
    """Read bytes ``begin`` to ``end`` of a file into one uint8 buffer, again and again; only the last may be short."""
    buffer = torch.empty(min(_BUFFER_BYTES, end - begin), dtype=torch.uint8)
    for start in range(begin, end, _BUFFER_BYTES):
        piece = buffer[: min(_BUFFER_BYTES, end - start)]
        read_into(fd, start, piece.numpy().data, where)
        yield piece
        if tick is not None:
            tick(len(piece))
