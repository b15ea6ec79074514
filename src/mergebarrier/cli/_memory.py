"""Let a freed buffer serve the next tensor: the C library of Linux gives it back and takes it again page by page.

A model is streamed through buffers of some megabytes each, and the system clears every page that it hands
out.  At most 128 MiB are kept per thread.

    mallopt(M_MMAP_THRESHOLD, 32 MiB), mallopt(M_TRIM_THRESHOLD, 128 MiB)

Source: mallopt(3).  For this process only, which is the command's own; a library must not decide it for its caller.
"""

from typing import Final

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> None:
    """Tell glibc, where it is the C library; elsewhere nothing happens."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)
