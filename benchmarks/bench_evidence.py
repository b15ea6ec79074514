"""``evidence``: seconds and memory of ``provenance relate`` and ``parents`` on random Llamas of real shapes.

Each case runs in a process of its own: seconds from its start to its end, of the processor too, and the most anonymous
memory.  Behind the table stands what 7B would take, by the power of the number of weights that the two largest shapes
show.  Arguments choose among the cases, as in ``bench_evidence.py relate 135M``; finished rows are kept.
"""

import functools
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import mergebarrier as mb
from _keep import Rows, say
from _models import anonymous_bytes, parameters, write

SHAPES = {"relate": ("135M", "278M", "1B"), "parents": ("135M", "278M")}
CANDIDATES, STEP = 4, 0.02
THREADS = 2
COLUMNS = ("verb", "shape", "weights", "seconds", "of the processor", "anonymous MiB", "goal")
GOALS = {("relate", "135M"): "20 s", ("parents", "135M"): "60 s", ("relate", "1B"): "1 GB"}


def folders(verb: str, shape: str, place: Path) -> list[Path]:
    """Write what a verb reads: two models, or a merge, its base and the candidates."""
    base = write(place / "base", shape, repeat=True)
    if verb == "relate":
        return [write(place / "tuned", shape, step=STEP, repeat=True), base]
    experts = [write(place / f"expert-{n}", shape, step=STEP, expert=n, repeat=True) for n in range(CANDIDATES)]
    mb.merge(experts[:2], place / "merged", base=base, method=mb.TaskArithmetic(weights=(0.3, 0.5)))
    return [place / "merged", base, *experts]


def alone(verb: str, models: list[str]) -> dict[str, float]:
    """Run a verb in this process, and return what it took, its imports too."""
    import torch

    torch.set_num_threads(THREADS)
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    if verb == "relate":
        mb.provenance_relate(*models)
    else:
        mb.provenance_parents(models[0], base=models[1], candidates=models[2:], workers=THREADS)
    done.set()
    watcher.join()
    return {"seconds": time.perf_counter() - started, "processor": time.process_time(), "bytes": most[0]}


def measured(verb: str, shape: str) -> dict[str, float]:
    """Write the models of a case and run it."""
    with tempfile.TemporaryDirectory() as scratch:
        models = folders(verb, shape, Path(scratch))
        words = [sys.executable, __file__, "--alone", verb, *map(str, models)]
        ran = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout)
    say(f"{verb}, {shape}: {found}")
    return found


def slope(verb: str, rows: dict[str, dict[str, Any]], what: str) -> tuple[float, float]:
    """Return the power of the number of weights between the two largest shapes, and what 7B would take by it."""
    small, large = list(rows)[-2:]
    grown = parameters(large) / parameters(small)
    power = math.log(rows[large][what] / rows[small][what]) / math.log(grown)
    return power, rows[large][what] * (parameters("7B") / parameters(large)) ** power


def main(chosen: list[str]) -> None:
    """Print the table, measuring what is not kept; with --kept, of what is kept alone."""
    rows = Rows(Path(__file__).parent / "results" / "evidence.jsonl")
    words = {word for word in chosen if not word.startswith("--")}
    print(f"Random Llamas in bfloat16, {THREADS} threads; {CANDIDATES} candidates, two of them in the merge.\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for verb, shapes in SHAPES.items():
        for shape in shapes:
            wanted = "--kept" not in chosen and words <= {verb, shape}
            if wanted or rows.has([verb, shape]):
                row = rows.get([verb, shape], functools.partial(measured, verb, shape))
                found.setdefault(verb, {})[shape] = row
                print(
                    f"| {verb} | {shape} | {parameters(shape):,} | {row['seconds']:.1f} | {row['processor']:.1f} | "
                    f"{row['bytes'] / 2**20:.0f} | {GOALS.get((verb, shape), '-')} |"
                )
    print()
    for verb, cases in found.items():
        if len(cases) > 1:
            time_power, seconds = slope(verb, cases, "processor")
            room_power, room = slope(verb, cases, "bytes")
            print(
                f"{verb}, {' to '.join(list(cases)[-2:])}: seconds of the processor grow with the power "
                f"{time_power:.2f} of the weights and memory with {room_power:.2f}, so 7B would take {seconds:.0f} s "
                f"and {room / 2**30:.1f} GiB.\n"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        print(json.dumps(alone(sys.argv[2], sys.argv[3:])))
    else:
        main(sys.argv[1:])
