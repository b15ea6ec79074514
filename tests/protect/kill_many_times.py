"""Run ``protect`` in forked children and kill each at a random moment; prints one JSON line per kill.

Usage: kill_many_times.py MODEL OUT N.  The imports are paid once; no thread exists in this process when it forks.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.protect import Exact


def run(model: Path, out: Path) -> None:
    partial = out.with_name(out.name + ".partial")
    with open_checkpoint(model) as source:
        verbs.protect(
            source, Exact(), Key(bytes([5]) * 32), verbs.OutputOptions(out, resume=partial.exists(), workers=2)
        )


def in_child(model: Path, out: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            run(model, out)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return child


def loadable(folder: Path) -> bool:
    """Say whether any loader could take this folder for a model: config beside weights under their final names."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return "config.json" in names and any(name.endswith(".safetensors") for name in names)


def main() -> None:
    model, out, n_kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    partial = out.with_name(out.name + ".partial")
    whole = out.with_name("undisturbed")
    started = time.perf_counter()
    os.waitpid(in_child(model, whole), 0)
    duration = time.perf_counter() - started
    reference = {path.name: path.read_bytes() for path in whole.iterdir()}
    draw = random.Random(11)
    for n in range(n_kills):
        kills, status = 0, 1
        # One to three kills of the same output, then an undisturbed run to the end.
        for _ in range(draw.randint(1, 3)):
            if out.exists():
                break
            child = in_child(model, out)
            time.sleep(draw.uniform(0, 1.1 * duration))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
            complete = out.exists()
            report = {"kill": n, "loadable_partial": loadable(partial), "complete": complete}
            report["complete_is_whole"] = not complete or {p.name: p.read_bytes() for p in out.iterdir()} == reference
            print(json.dumps(report), flush=True)
        if not out.exists():
            _, status = os.waitpid(in_child(model, out), 0)
        identical = out.exists() and {path.name: path.read_bytes() for path in out.iterdir()} == reference
        print(json.dumps({"finished": n, "status": status, "identical": identical}), flush=True)
        for path in out.iterdir():
            path.unlink()
        out.rmdir()


if __name__ == "__main__":
    main()
