"""What a command sets for its own process: threads of the numeric libraries, and freed memory.

Threads are decided once and on purpose, since libraries that each take every core spin on a shared machine; the number
goes into the environment before torch is imported and into torch itself when it already is.  A model is streamed
through buffers of some megabytes each; the C library of Linux would give a freed one back and take it again page by
page, each cleared by the system, so it is set to keep up to 128 MiB per thread for the next tensor.

    mallopt(M_MMAP_THRESHOLD, 32 MiB), mallopt(M_TRIM_THRESHOLD, 128 MiB)

Source: mallopt(3).  For a command, whose process is its own; a library must not decide this for its caller.
"""

import os
import sys
from typing import Final

__all__ = ["default_threads", "keep_freed_memory", "set_threads"]

_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def default_threads() -> int:
    """Return OMP_NUM_THREADS where it is set to a number, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(n: int) -> None:
    """Give the numeric libraries ``n`` >= 1 threads; imports nothing."""
    for variable in _VARIABLES:
        os.environ[variable] = str(n)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait asleep: on a machine that others use too, spinning at barriers costs three times the wall time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(n)


def keep_freed_memory() -> None:
    """Tell glibc, where it is the C library; elsewhere nothing happens."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)
