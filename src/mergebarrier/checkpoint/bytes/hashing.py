"""SHA-256 of files and of tensors, read piece by piece; a tensor's pass also checks its values.

A digest is one chain and takes one thread, so files are hashed side by side, and tensors are (hashlib leaves the
interpreter lock).

    tensor digest = SHA-256(name 0x00 dtype 0x00 shape-as-"a,b,c" 0x00 payload)
    content digest = SHA-256(tensor digests as 32 raw bytes each, in the order of the sorted names)

Source: FIPS 180-4; the layout of the digest is ours.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

import torch

from mergebarrier.checkpoint.bytes.io import read_into
from mergebarrier.checkpoint.bytes.tensors import TensorInfo, check_payload
from mergebarrier.progress import Progress

_BUFFER_BYTES = 1 << 20
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def new_tensor_hash(name: str, dtype: str, shape: Sequence[int]) -> "hashlib._Hash":
    """Return a SHA-256 that has seen a tensor's name, dtype and shape, and waits for the payload."""
    return hashlib.sha256(b"\0".join((name.encode(), dtype.encode(), ",".join(map(str, shape)).encode(), b"")))


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
