"""Fresh memory for a tensor that is read whole, in large pages where the system has them.

A model is read once, through buffers that are new each time; with small pages the kernel spends much of a read on
handing out the buffer.  Large pages are asked for, not relied on.

    mmap(private, anonymous) + madvise(MADV_HUGEPAGE)

Source: madvise(2).  Differs from ``torch.empty`` in speed alone.
"""

import mmap

import torch

_WORTH_BYTES = 1 << 22


def fresh(nbytes: int) -> torch.Tensor:
    """Return ``nbytes`` uninitialised bytes, UInt8[Tensor, "nbytes"]."""
    if nbytes < _WORTH_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(nbytes, dtype=torch.uint8)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)
