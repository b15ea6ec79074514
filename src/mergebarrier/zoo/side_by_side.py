"""Making several assets at once, one process and one arithmetic thread each: two cores train two experts side by side.

Matrices of a small model are too small to be worth splitting between threads, and threads that wait for each other
spin; two processes never wait.  Every process takes the lock of what it makes, so nothing is made twice.

    child -> parent, a JSON line each:  {"done": n, "total": n} ... and, when it fails, {"error": line}
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock

from mergebarrier.errors import MergebarrierError, clean
from mergebarrier.progress import Progress

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
_CHILD = "import sys; from mergebarrier.zoo.side_by_side import child; child(sys.argv[1])"


def make_together(names: Sequence[str], progress: Progress) -> None:
    """Fetch every asset in a process of its own.

    Args:
      names:    assets whose ingredients are ready.
      progress: called with (steps done, steps in all) summed over the processes, one call at a time.
    Raises: MergebarrierError with the line of a child that failed; the others are ended then.
    """
    done, total, lock = dict.fromkeys(names, 0), dict.fromkeys(names, 1), Lock()
    processes = [_start(name) for name in names]

    def follow(name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        fault = ""
        with process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                fault = said.get("error", fault)
                with lock:
                    done[name], total[name] = said.get("done", done[name]), said.get("total", total[name])
                    progress(sum(done.values()), sum(total.values()))
        if process.wait():
            raise MergebarrierError(fault or f"its process ended with code {process.returncode}", where=name)

    try:
        with ThreadPoolExecutor(len(names)) as pool:
            followed = [pool.submit(follow, *pair) for pair in zip(names, processes, strict=True)]
            try:
                for future in as_completed(followed):
                    future.result()
            except BaseException:
                # Before the pool is left, which waits for the threads that still follow a child.
                _end(processes)
                raise
    finally:
        _end(processes)


def child(name: str) -> None:
    """Make one asset and say on stdout how far it is; exit with 1 and a line when it fails."""
    from mergebarrier.zoo.fetch import fetch

    def say(**said: object) -> None:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    try:
        fetch(name, progress=lambda what, done, total: say(done=done, total=total))
    except Exception as error:
        say(error=str(error) if isinstance(error, MergebarrierError) else clean(f"{type(error).__name__}: {error}"))
        sys.exit(1)


def _start(name: str) -> "subprocess.Popen[str]":
    # -P: a file in the working folder must not pass for a library.
    command = [sys.executable, "-P", "-c", _CHILD, name]
    environment = {**os.environ, **_ONE_THREAD}
    # Its own session: Ctrl-C reaches us alone and we end it; if we are killed it ends at its next write to the closed
    # pipe.
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def _end(processes: "Sequence[subprocess.Popen[str]]") -> None:
    # All are signalled before any is waited for: a second Ctrl-C may cut the waiting short.
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()
