"""Digests of tensors taken from the very bytes that a run reads, so that nothing is read or hashed twice.

A tensor that is read whole, or row by row from the first to the last on one thread, leaves its digest; any other way
of reading leaves none, and code that needs it later hashes the tensor then.

    digest = SHA-256(name 0x00 dtype 0x00 shape 0x00 payload), advanced by every block of rows

Source: ours.  Differs from a pass before the run: what is listed in a manifest is what the arithmetic saw.
"""

from threading import Lock, get_ident
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.bytes import TensorInfo, new_tensor_hash

if TYPE_CHECKING:
    import hashlib


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
