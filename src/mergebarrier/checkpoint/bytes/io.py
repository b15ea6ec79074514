"""Whole reads and whole writes at an offset, and the only ways to open a file of unknown origin.

A link is followed only to a regular file inside the model's folder, or inside the ``blobs`` folder of the same Hugging
Face cache repository; what was opened is then checked on the descriptor, so a FIFO can neither hang nor fool us.

    accept realpath(p) if inside root, or if root = R/snapshots/X and realpath(p) is inside R/blobs

Source: transformers issue 47176 (shards outside the folder were read); model-signing refuses all links.  Differs: cache
links are followed, because every cached model consists of them.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mergebarrier.errors import ChangedDuringRun, LimitExceeded, NoSpace, NotACheckpoint, UnsafePath

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MOST_BYTES = 1 << 26
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
