"""Waiting for something to be so, however long a busy machine takes; only what never comes is a failure."""

import sys
import threading
import time
from collections.abc import Callable

_HOPELESS_S = 300.0


def until(is_so: Callable[[], bool]) -> None:
    """Return when it is so; TimeoutError after minutes."""
    limit = time.monotonic() + _HOPELESS_S
    while not is_so():
        if time.monotonic() > limit:
            raise TimeoutError("what the test waits for does not come")
        time.sleep(0.001)


def stands_in(thread: threading.Thread, function: str) -> bool:
    """Say whether a thread is inside a function of this name at this moment."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_name == function:
            return True
        frame = frame.f_back
    return False
