"""Our merges beside mergekit 0.1.5 and beside their floor, on the same files in one run: time, memory, start-up.

mergekit runs in its own environment (``tests/peer_mergekit.py`` makes it) and is never imported by the package.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _models import parameters, write

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))
peer_python = importlib.import_module("peer_mergekit").peer_python

#: method -> times as fast as mergekit that we aim at.
GOALS = {
    "linear": 3,
    "task_arithmetic": 3,
    "slerp": 3,
    "dare_linear": 4,
    "karcher": 4,
    "breadcrumbs": 10,
    "ties": 10,
    "della": 6,
}
RUNS = 5
SHAPE, LARGE, TINY = "278M", "3B", "tiny"
MEMORY_MB = 250
STARTS = 3
#: Methods that are also run without hashes and beside the floor: those whose time goes into reading and writing.
LEAN = ("linear", "task_arithmetic", "slerp")
HEAD = """
Llama of {size:.0f}M weights in bfloat16 (untied, a file per layer), weight .5, density .5, two cores; imports excluded
on all sides; medians and smallest of {runs} alternating runs, in seconds. The floor reads the bytes of all inputs and
writes those of the output, flushed; mergekit does not flush. "Without hashes" is our merge without digests, to
show what the lineage costs.

| method | mergekit | min | cpu | ours | min | cpu | times as fast | by min | goal | without hashes | x floor |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


class Side:
    """One process that merges on demand; imports are over when it is made."""

    def __init__(self, name: str) -> None:
        python = peer_python() if name == "peer" else Path(sys.executable)
        threads = "2" if name == "peer" else "1"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        if name == "peer":
            environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [str(python), str(HERE / "_merging.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer()

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *args: object) -> None:
        self._process.communicate()

    def merge(self, method: str, root: Path, out: Path) -> dict[str, Any]:
        job = {"method": method, "base": str(root / "base"), "experts": [str(root / "a"), str(root / "b")]}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**job, "out": str(out)}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise SystemExit(f"a side died with exit code {self._process.wait()}")


def models(root: Path, shape: str) -> Path:
    """Write a base and two experts of it."""
    write(root / "base", shape)
    write(root / "a", shape, step=0.1, expert=0)
    write(root / "b", shape, step=0.1, expert=1)
    return root


def speed(root: Path, methods: Sequence[str]) -> None:
    """Print the table of methods, and where the time of the leanest ones goes."""
    sides = {name: Side(name) for name in ("floor", "ours", "unhashed", "peer")}
    print(HEAD.format(size=parameters(SHAPE) / 1e6, runs=RUNS))
    for method in methods:
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for n in range(RUNS):
            for name, side in sides.items():
                if method not in LEAN and name in ("floor", "unhashed"):
                    continue
                taken[name].append(side.merge(method, root, root / f"out-{name}-{n}"))
            sys.stderr.write(f"{method}: {n + 1} of {RUNS}\n")
        print(_row(method, taken), flush=True)
    for side in sides.values():
        side.__exit__()
    with Side("stages") as side:
        for method in (method for method in LEAN if method in methods):
            side.merge(method, root, root / "warm")
            answer = side.merge(method, root, root / "out")
            stages = answer["stages"]
            rest = answer["cpu_s"] - sum(stages.values())
            print(
                f"\nProcessor seconds of {method} by stage (one run, {answer['cpu_s']:.2f} s in all, on two threads):\n"
            )
            print("| stage | s |\n|---|---|")
            for stage, seconds in sorted(stages.items(), key=lambda pair: -pair[1]):
                print(f"| {stage} | {seconds:.2f} |")
            print(f"| all else | {rest:.2f} |")


def _row(method: str, taken: dict[str, list[dict[str, Any]]]) -> str:
    def middle(name: str, key: str) -> float:
        return statistics.median(run[key] for run in taken[name])

    def least(name: str) -> float:
        return min(run["wall_s"] for run in taken[name])

    cells = [method]
    for name in ("peer", "ours"):
        cells += [f"{middle(name, 'wall_s'):.2f}", f"{least(name):.2f}", f"{middle(name, 'cpu_s'):.2f}"]
    cells += [f"{middle('peer', 'wall_s') / middle('ours', 'wall_s'):.1f}", f"{least('peer') / least('ours'):.1f}"]
    cells.append(f">= {GOALS[method]}")
    if method in LEAN:
        cells.append(f"{middle('peer', 'wall_s') / middle('unhashed', 'wall_s'):.1f}")
        cells.append(f"{middle('ours', 'wall_s') / middle('floor', 'wall_s'):.2f}")
    else:
        cells += ["", ""]
    return "| " + " | ".join(cells) + " |"


def memory(roots: dict[str, Path]) -> None:
    """Print the peak of anonymous memory of elementwise merges on two shapes, each in a fresh process."""
    print("\nPeak of anonymous memory above the import, MiB, each in a fresh process:\n")
    print("| shape | linear | task_arithmetic | target |\n|---|---|---|---|")
    for shape, root in roots.items():
        cells = []
        for method in ("linear", "task_arithmetic"):
            with Side("ours") as side:
                cells.append(f"{side.merge(method, root, root / 'out')['anonymous_mb']:.0f}")
        print(f"| {shape}, {parameters(shape) / 1e6:.0f}M weights | {' | '.join(cells)} | <= {MEMORY_MB} |", flush=True)


def starts(root: Path) -> None:
    """Print the wall time of whole commands, interpreter start included."""
    recipe = root / "recipe.yml"
    listed = "".join(f"  - {{model: {root / name}, parameters: {{weight: 0.5}}}}\n" for name in ("a", "b"))
    recipe.write_text(f"merge_method: linear\nmodels:\n{listed}dtype: bfloat16\n")
    out = root / "out"
    peer = [str(peer_python()), "-m", "mergekit.scripts.run_yaml"]
    mine = [sys.executable, "-m", "mergebarrier"]
    jobs = {
        "merge of two tiny models": (
            [*mine, "merge", str(recipe), "-o", str(out), "--quiet"],
            [*peer, str(recipe), str(out), "--quiet"],
            "2.5",
        ),
        "`--help`": ([*mine, "--help"], [*peer, "--help"], "0.3"),
    }
    print(f"\nWhole commands, seconds, smallest and median of {STARTS} alternating runs:\n")
    print("| command | ours (min) | ours | mergekit (min) | mergekit | target |\n|---|---|---|---|---|---|")
    for name, (ours, theirs, target) in jobs.items():
        taken: dict[int, list[float]] = {0: [], 1: []}
        for _ in range(STARTS):
            for i, command in enumerate((ours, theirs)):
                environment = dict(os.environ)
                if i:
                    environment.pop("PYTHONPATH", None)
                started = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True, env=environment)
                taken[i].append(time.perf_counter() - started)
                subprocess.run(["rm", "-rf", str(out)], check=True)
        cells = [f"{min(taken[i]):.2f} | {statistics.median(taken[i]):.2f}" for i in taken]
        print(f"| {name} | {' | '.join(cells)} | <= {target} |", flush=True)


def main() -> None:
    """Make the models, print the tables; for methods that are named, that of their speed alone."""
    with tempfile.TemporaryDirectory(prefix="mergebarrier-bench-") as scratch:
        if sys.argv[1:]:
            speed(models(Path(scratch) / SHAPE, SHAPE), sys.argv[1:])
            return
        roots = {shape: models(Path(scratch) / shape, shape) for shape in (SHAPE, TINY)}
        starts(roots[TINY])
        speed(roots[SHAPE], [*GOALS])
        large = Path(scratch) / LARGE
        for name in ("base", "a", "b"):
            write(large / name, LARGE, repeat=True)
        memory({SHAPE: roots[SHAPE], LARGE: large})


if __name__ == "__main__":
    main()
