"""How many threads, decided once and on purpose: libraries that each take every core spin on a shared machine.

The number goes into the environment before torch is imported and into torch itself when it already is.
"""

import os
import sys
from typing import Final

__all__ = ["default_threads", "set_threads"]

_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
