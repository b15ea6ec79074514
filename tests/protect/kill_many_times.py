"""Run ``protect`` in forked children and kill each at a random moment; prints one JSON line per kill.

Usage: kill_many_times.py MODEL OUT N.  The imports are paid once; no thread exists in this process when it forks.
"""

import json
import random
import shutil
import sys
from pathlib import Path

from killing import killed_before, killed_soon_after, status_of, victim, writes_of
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


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def loadable(folder: Path) -> bool:
    """Say whether any loader could take this folder for a model: config beside weights under their final names."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return "config.json" in names and any(name.endswith(".safetensors") for name in names)


def main() -> None:
    model, out, n_kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    partial = out.with_name(out.name + ".partial")
    whole = out.with_name("undisturbed")
    calls = writes_of(lambda: run(model, whole))
    reference = contents(whole)
    draw = random.Random(11)
    for n in range(n_kills):
        status = 0
        # One to three kills of the same output, then an undisturbed run to the end.
        for kill in (killed_before, killed_soon_after, killed_before)[: draw.randint(1, 3)]:
            if out.exists():
                break
            kill(draw.randint(1, calls), lambda: run(model, out))
            complete = out.exists()
            report = {"kill": n, "loadable_partial": loadable(partial), "complete": complete}
            report["complete_is_whole"] = not complete or contents(out) == reference
            print(json.dumps(report), flush=True)
        if not out.exists():
            status = status_of(victim(lambda: run(model, out)))
        identical = out.exists() and contents(out) == reference
        print(json.dumps({"finished": n, "status": status, "identical": identical}), flush=True)
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
