"""Finished shards reach the disk while others are still computed, so that a commit waits for the last one only.

A shard is flushed once, when its last tensor is finished, on a thread of its own: the wait is the disk's, not a core's.
An error of the disk is told to the first fsync that meets it and to no later one, so each flush is kept and asked for.

    last tensor of a shard finished -> fsync, in the background -> ``wait`` in the commit

Source: fsync(2).  Differs from one flush at the end: there computing and writing take turns.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from mergebarrier.checkpoint.bytes import Shard


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
        """Return when a shard that nobody writes to any more is on the disk; OSError."""
        if shard in self._flushes:
            self._flushes[shard].result()
        else:
            os.fsync(fd)

    def close(self) -> None:
        """End the thread; flushes that have not begun are dropped."""
        self._pool.shutdown(cancel_futures=True)
