"""Processor seconds of a merge by stage: functions of ours, wrapped, each without the wrapped ones that it calls."""

import importlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from mergebarrier.checkpoint.bytes import io as hashing
from mergebarrier.checkpoint.read import checkpoint as reading
from mergebarrier.checkpoint.write import commit as committing
from mergebarrier.checkpoint.write import writer as writing
from mergebarrier.verbs import job as merging

#: The door of its room gives the function of that name, not the file.
running = importlib.import_module("mergebarrier.run.transform")

STAGES: tuple[tuple[Any, str, str], ...] = (
    (reading.ReadDigests, "feed", "digests of the inputs"),
    (committing.Filling, "add", "digests of the output"),
    (running, "change_rows", "arithmetic"),
    (reading, "read_into", "read the inputs"),
    (hashing, "read_into", "read the output back"),
    (writing, "write_at", "write the output"),
    (reading, "check_finite", "finite checks"),
    (writing, "check_finite", "finite checks"),
    (writing, "write_record", "records of units"),
    (committing.os, "fsync", "flush"),
    (merging, "relatives", "relation of the experts to the base"),
    (merging, "check_merged", "sanity check of the output"),
)


class Stages:
    """Wraps the functions for good; ``take`` returns and forgets what has been counted."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._local, self._lock = threading.local(), threading.Lock()
        for place, name, stage in STAGES:
            setattr(place, name, self._wrapped(getattr(place, name), stage))

    def take(self) -> dict[str, float]:
        with self._lock:
            found = dict(self._seconds.most_common())
            self._seconds.clear()
        return found

    def _wrapped(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            inner = self._local.__dict__.setdefault("inner", [])
            inner.append(0.0)
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - started
                own = spent - inner.pop()
                if inner:
                    inner[-1] += spent
                with self._lock:
                    self._seconds[stage] += own

        return counted
