"""Memory for tensors that are read whole: in large pages where the system has them, and reused.

A model is read once, through buffers that would be new each time, and the system clears whatever it hands out.  A
buffer comes back when the last tensor that views it is gone, and serves the next read of its checkpoint.

    mmap(private, anonymous) + madvise(MADV_HUGEPAGE) -> tensor -> garbage -> next tensor

Source: madvise(2).  Differs from ``torch.empty`` in speed alone; large pages are asked for, not relied on.
"""

import mmap
import weakref
from contextlib import suppress

import numpy as np
import torch

_WORTH_BYTES = 1 << 22


class Memory:
    """Hands out buffers, from any thread, and keeps a few of those that come back."""

    def __init__(self, kept: int = 0) -> None:
        """Begin with none, and keep at most ``kept``."""
        self._free: list[mmap.mmap] = []
        self._kept = kept

    def take(self, nbytes: int) -> torch.Tensor:
        """Return ``nbytes`` bytes of any values, UInt8[Tensor, "nbytes"]."""
        if nbytes < _WORTH_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
            return torch.empty(nbytes, dtype=torch.uint8)
        region = self._fitting(nbytes)
        lease = np.frombuffer(region, np.uint8, nbytes)
        weakref.finalize(lease, self._give_back, region).atexit = False
        return torch.from_numpy(lease)

    def close(self) -> None:
        """Keep nothing from now on."""
        self._kept = 0
        self._free.clear()

    def _fitting(self, nbytes: int) -> mmap.mmap:
        # No lock: a buffer can come back wherever the interpreter collects garbage, also in the middle of this.
        for region in sorted(self._free, key=len):
            if len(region) >= nbytes:
                with suppress(ValueError):  # another thread took it
                    self._free.remove(region)
                    return region
        with suppress(IndexError):
            self._free.pop()  # too small, as all others: the new one takes its place
        region = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        region.madvise(mmap.MADV_HUGEPAGE)
        return region

    def _give_back(self, region: mmap.mmap) -> None:
        if len(self._free) < self._kept:
            self._free.append(region)
