"""SHA-256 of a whole shard and of each tensor in it, with the check of its values, from one pass over the file.

The file's digest is a chain over all bytes; the tensors' digests are a second chain over the same buffers, which a
helper thread advances while the first one runs (hashlib releases the interpreter lock).

    tensor digest = SHA-256(name 0x00 dtype 0x00 shape-as-"a,b,c" 0x00 payload)
    content digest = SHA-256(tensor digests as 32 raw bytes each, in the order of the sorted names)

Source: FIPS 180-4; the layout of the digest is ours.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from mergebarrier.checkpoint._io import read_into
from mergebarrier.checkpoint._tensors import TensorInfo
from mergebarrier.checkpoint._values import ValueCheck

_BUFFER_BYTES = 1 << 22


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


@dataclass(frozen=True)
class ShardDigests:
    """Hex SHA-256 of a file and of each of its tensors."""

    file: str
    tensors: dict[str, str]


class _TensorChain:
    """Feeds consecutive buffers of a file to the digest and the value check of the tensor that they belong to."""

    def __init__(self, tensors: Sequence[TensorInfo], where: object, check_values: bool) -> None:
        self._tensors, self._next, self._where, self._check_values = tensors, 0, where, check_values
        self._hash: hashlib._Hash | None = None
        self._check: ValueCheck | None = None
        self.digests: dict[str, str] = {}

    def feed(self, start: int, view: memoryview) -> None:
        while self._next < len(self._tensors):
            tensor = self._tensors[self._next]
            if self._hash is None or self._check is None:
                if tensor.begin > start + len(view):
                    return
                self._hash = new_tensor_hash(tensor.name, tensor.dtype, tensor.shape)
                self._check = ValueCheck(tensor, f"{self._where}: tensor {tensor.name!r}")
            part = view[max(tensor.begin - start, 0) : max(tensor.end - start, 0)]
            if self._check_values:
                self._check.feed(part)
            self._hash.update(part)
            if tensor.end > start + len(view):
                return
            self.digests[tensor.name] = self._hash.hexdigest()
            self._hash, self._check, self._next = None, None, self._next + 1


def hash_shard(
    fd: int,
    size_bytes: int,
    tensors: Sequence[TensorInfo],
    *,
    where: object,
    threaded: bool,
    check_values: bool,
    tick: Callable[[int], None] | None = None,
    hash_tensors: bool = True,
) -> ShardDigests:
    """Hash one file and its tensors in one pass.

    Args:
      fd:         open for reading.
      size_bytes: of the whole file.
      tensors:    in offset order, contiguous up to the end of the file.
      where:      file named in errors.
      threaded:   let a second thread hash the tensors.
      check_values: refuse NaN, Inf and bad masks; not needed for bytes whose digests are known.
      tick:       called with the number of bytes after each buffer.
      hash_tensors: False for the digest of the file alone.
    Returns: ShardDigests; the same with or without the thread.
    Raises:  ChangedDuringRun when the file is shorter than ``size_bytes``; NonFinite, BadDtype for values.
    """
    file_hash, chain = hashlib.sha256(), _TensorChain(tensors if hash_tensors else (), where, check_values)
    buffers = [memoryview(bytearray(min(_BUFFER_BYTES, size_bytes))) for _ in range(2 if threaded else 1)]
    helper = ThreadPoolExecutor(1) if threaded and hash_tensors else None
    pending: list[Future[None] | None] = [None, None]
    try:
        for k, start in enumerate(range(0, size_bytes, _BUFFER_BYTES)):
            slot = k % len(buffers)
            busy = pending[slot]
            if busy is not None:
                busy.result()
            view = buffers[slot][: min(_BUFFER_BYTES, size_bytes - start)]
            read_into(fd, start, view, where)
            if helper is None:
                chain.feed(start, view)
            else:
                pending[slot] = helper.submit(chain.feed, start, view)
            file_hash.update(view)
            if tick is not None:
                tick(len(view))
        for last in pending:
            if last is not None:
                last.result()
    finally:
        if helper is not None:
            helper.shutdown()
    chain.feed(size_bytes, memoryview(b""))
    return ShardDigests(file_hash.hexdigest(), chain.digests)


def hash_range(chain: "hashlib._Hash", fd: int, begin: int, end: int, *, where: object) -> str:
    """Feed the bytes ``begin`` to ``end`` of a file to ``chain`` and return its hex digest."""
    view = memoryview(bytearray(min(_BUFFER_BYTES, end - begin)))
    for start in range(begin, end, _BUFFER_BYTES):
        part = view[: min(_BUFFER_BYTES, end - start)]
        read_into(fd, start, part, where)
        chain.update(part)
    return chain.hexdigest()
