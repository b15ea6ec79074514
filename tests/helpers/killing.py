"""Forks that are killed at a moment named by what they have done, not by a clock: a busy machine changes nothing.

Only calls that write change what a kill leaves behind, so a moment is the number of such calls before it.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from mergebarrier import api

# The package imports what it needs when it first needs it, which would be in every fork.
for library in ("torch", "scipy.optimize"):
    import_module(library)
for door in api.__all__:
    getattr(api, door)

Task = Callable[[], None]
WRITES = ("pwrite", "rename", "replace", "mkdir", "rmdir", "unlink", "fsync", "ftruncate", "posix_fallocate", "open")


def victim(task: Task) -> int:
    """Run a task in a fork; returns its process id.  The imports are paid once; no thread may exist here."""
    process = os.fork()
    if process == 0:
        try:
            task()
            os._exit(0)
        except BaseException as fault:
            print(repr(fault), file=sys.stderr, flush=True)
            os._exit(1)
    return process


def status_of(process: int) -> int:
    """Wait for a fork; 0 when it came to its end, SIGKILL when it was killed before."""
    return os.waitpid(process, 0)[1]


def finish(task: Task) -> None:
    """Run a task in a fork to its end."""
    status = status_of(victim(task))
    assert status == 0, f"the undisturbed run ended with {status}"


def writes_of(task: Task) -> int:
    """Run a task in a fork to its end; returns how often it writes."""
    heard, told = os.pipe()
    process = victim(lambda: watched(task, lambda call: os.write(told, b".")))
    os.close(told)
    with os.fdopen(heard, "rb") as pipe:
        calls = len(pipe.read())
    assert status_of(process) == 0
    return calls


def killed_before(call: int, task: Task) -> int:
    """Kill a fork just before its n-th write; returns its status, 0 when it writes less often."""

    def kill(now: int) -> None:
        if now == call:
            os.kill(os.getpid(), signal.SIGKILL)

    return status_of(victim(lambda: watched(task, kill)))


def killed_soon_after(call: int, task: Task) -> int:
    """Kill a fork from outside, at whatever it does when the news of its n-th write arrives; returns its status."""
    heard, told = os.pipe()

    def tell(now: int) -> None:
        if now == call:
            os.close(told)

    process = victim(lambda: watched(task, tell))
    os.close(told)
    os.read(heard, 1)  # the end of the pipe: the fork has closed its side, or is gone
    os.close(heard)
    os.kill(process, signal.SIGKILL)
    return status_of(process)


def watched(task: Task, see: Callable[[int], object]) -> None:
    """Do a task and call ``see(n)`` just before its n-th write, from whatever thread; for a fork, which it changes."""
    calls = itertools.count(1)

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def counted(*args: Any, **more: Any) -> Any:
            if name != "open" or (len(args) > 1 and args[1] & os.O_CREAT):
                see(next(calls))
            return real(*args, **more)

        return counted

    for name in WRITES:
        setattr(os, name, wrap(name))
    task()
