"""Workers that are processes of this machine: orders go in by stdin, answers come out by stdout, rows go to the disk.

    17   ->   {"refused": null}        a line each

A worker whose stdin ends has lost its coordinator and stops at once, in the middle of whatever it does.  It starts from
``python -m``, so nothing of the program that asked for it is run again.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

from mergebarrier.errors import MergebarrierError, WorkerLost


class ProcessHand:
    """A worker in a process of its own.

    Args:
      plan:    the file of the plan.
      threads: of its numeric libraries.
    """

    def __init__(self, plan: Path, threads: int) -> None:
        """Start it; it opens its models when it gets its first task."""
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self._process = subprocess.Popen(
            # -P: a file in the working folder, such as one of a model, must not pass for a library.
            [sys.executable, "-P", "-m", __name__, str(plan), str(threads)],
            env=os.environ | dict.fromkeys(variables, str(threads)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = f"process {self._process.pid}"

    def perform(self, index: int) -> str | None:
        """Do a task; WorkerLost when the process has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{index}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise WorkerLost(
                f"{self.name} ended ({_ending(self._process.wait())})",
                where=f"task {index}",
                remedy="go on with --resume; where memory ran out, give --workers a lower number",
            )
        refused: str | None = json.loads(answer)["refused"]
        return refused

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve(plan: Path, threads: int) -> None:
    """Do the tasks whose numbers come by stdin, until it ends."""
    import torch

    from mergebarrier.engines.perform import Performer

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints does not disturb the answers
    torch.set_num_threads(threads)
    orders = SimpleQueue[int]()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    worker: Performer | None = None
    while True:
        index, refused = orders.get(), None
        try:
            worker = worker or Performer(plan)
            worker.perform(index)
        except MergebarrierError as error:
            refused = str(error)
        answers.write(json.dumps({"refused": refused}) + "\n")
        answers.flush()


def _listen(orders: "SimpleQueue[int]") -> None:
    for line in sys.stdin:
        orders.put(int(line))
    os._exit(0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
