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
from functools import partial
from pathlib import Path
from typing import Any

from _keep import Rows
from _models import parameters, write

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))
peer_python = importlib.import_module("peer_mergekit").peer_python

#: Turns of the methods whose time is that of the disk, and of the others.
TURNS, RUNS = 7, 3
TINY, LARGE = "tiny", "3B"
MEMORY_MB = 250
STARTS = 3
#: Methods that are also run without digests: those whose time goes into reading and writing.
LEAN = ("linear", "task_arithmetic", "slerp")
#: Table -> shape, experts, methods with the most that each may take of its floor.
TABLES: dict[str, tuple[str, int, dict[str, float | None]]] = {
    "278M": (
        "278M",
        2,
        {
            "linear": 1.15,
            "task_arithmetic": 1.15,
            "slerp": 1.15,
            "dare_linear": 3,
            "karcher": None,
            "breadcrumbs": None,
            "ties": 3,
            "della": None,
        },
    ),
    "1B": ("1B", 2, {"linear": 1.15, "task_arithmetic": 1.15, "slerp": 1.15, "dare_linear": 3, "ties": 3}),
    "ten": ("278M", 10, {"ties": 1.3}),
}
#: Tables where mergekit runs too, once where it selects; each of its other merges would take minutes.
BESIDE = {"278M": tuple(TABLES["278M"][2]), "1B": LEAN, "ten": ()}
KEPT = HERE / "results" / "merge.jsonl"
HEAD = """
Llama of {size:.0f}M weights in bfloat16 (a file per layer), a base and {experts} experts, weight .5, density .5, two
cores; imports excluded on all sides; medians (smallest) of alternating runs, {turns} of the elementwise methods and
{runs} of the others, in seconds (of mergekit one, where it selects). The floor reads the bytes of all inputs and writes
those of the output, flushed, on one thread and without any digest; mergekit does not flush. Ours has every digest; "no
digests" is ours without, and "lineage" what they add to it (goal: .25). "Hashes alone": BLAKE3 of as many bytes as the
merge reads and writes, by two threads, nothing read or written and all bytes in the cache of their core: as a share of
"no digests" what no way to place the digests falls below. Both are given of seconds, and of processor seconds (cpu).
The disk's speed drifts, so "x floor", and each share, is the median [least, most] of neighbouring runs. MiB: the most
anonymous memory above the imports.

| method | mergekit | cpu | floor | cpu | ours | cpu | no digests | cpu | lineage | cpu | hashes alone | cpu | \
mergekit / ours | x floor | goal | MiB | measured |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


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
        experts = sorted(str(path) for path in root.glob("expert-*"))
        job = {"method": method, "base": str(root / "base"), "experts": experts}
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


def models(root: Path, shape: str, experts: int = 2, *, repeat: bool = False) -> Path:
    """Write a base and experts of it."""
    if not root.exists():
        write(root / "base", shape, repeat=repeat)
        for n in range(experts):
            write(root / f"expert-{n}", shape, step=0.1, expert=n, repeat=repeat)
    return root


def measure(table: str, method: str, root: Path) -> dict[str, Any]:
    """Merge by turns on all sides; the medians and smallest of what each took, and where our time goes."""
    lean = ["unhashed", "hashes"] if method in LEAN else []
    names = ["floor", "ours", *lean, *(["peer"] if method in BESIDE[table] else [])]
    sides = {name: Side(name) for name in names}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    turns = TURNS if method in LEAN else RUNS
    for n in range(turns):
        for name, side in sides.items():
            if not n or name != "peer" or (method in LEAN and n < RUNS):
                taken[name].append(side.merge(method, root, root / f"out-{name}-{n}"))
        sys.stderr.write(f"{table}, {method}: {n + 1} of {turns}\n")
    for side in sides.values():
        side.__exit__()
    figures: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "x_floor": _over(taken, "ours", "floor", "wall_s")}
    for clock in ("wall_s", "cpu_s") if lean else ():
        added = [ratio - 1 for ratio in _over(taken, "ours", "unhashed", clock)]
        figures |= {f"lineage_{clock}": added, f"hashes_{clock}": _over(taken, "hashes", "unhashed", clock)}
    for name, runs in taken.items():
        figures[name] = {key: statistics.median(run[key] for run in runs) for key in ("wall_s", "cpu_s")}
        figures[name] |= {"min_s": min(run["wall_s"] for run in runs)}
        figures[name] |= {"mib": max(run["anonymous_mb"] for run in runs)}
    if method not in LEAN:
        return figures
    with Side("stages") as side:
        side.merge(method, root, root / "warm")
        answer = side.merge(method, root, root / "out")
    rest = answer["cpu_s"] - sum(answer["stages"].values())
    return figures | {"stages": {**answer["stages"], "all else": rest}}


def _over(taken: dict[str, list[dict[str, Any]]], one: str, other: str, clock: str) -> list[float]:
    """Return how much longer one side took than the other in the same turn, from the least to the most."""
    return sorted(a[clock] / b[clock] for a, b in zip(taken[one], taken[other], strict=True))


def _row_of(scratch: Path, table: str, method: str) -> dict[str, Any]:
    shape, experts, _ = TABLES[table]
    return measure(table, method, models(scratch / table, shape, experts, repeat=table != "278M"))


def speed(scratch: Path, wanted: Sequence[str]) -> None:
    """Measure what is not kept yet of the wanted rows, "TABLE/METHOD", and print the tables of all that is kept."""
    rows = Rows(KEPT)
    for table, (shape, experts, limits) in TABLES.items():
        lines, stages = [], []
        for method, limit in limits.items():
            if f"{table}/{method}" not in wanted and not rows.has([table, method]):
                continue
            figures = rows.get([table, method], partial(_row_of, scratch, table, method))
            lines.append(_row(method, figures, limit))
            if method in LEAN:
                most = sorted(figures["stages"].items(), key=lambda pair: -pair[1])
                stages.append(f"- {method}: {', '.join(f'{stage} {seconds:.2f}' for stage, seconds in most)}")
        if lines:
            print(HEAD.format(size=parameters(shape) / 1e6, experts=experts, turns=TURNS, runs=RUNS), *lines, sep="\n")
            print(
                "\nProcessor seconds of ours by stage (one run on two threads):\n" if stages else "", *stages, sep="\n"
            )
        subprocess.run(["rm", "-rf", str(scratch / table)], check=True)


def _row(method: str, figures: dict[str, Any], limit: float | None) -> str:
    ours, floor, lean, peer = (figures.get(name) for name in ("ours", "floor", "unhashed", "peer"))
    cells = [method]
    for side in (peer, floor, ours):
        cells += [f"{side['wall_s']:.2f} ({side['min_s']:.2f})", f"{side['cpu_s']:.2f}"] if side else ["", ""]
    cells += [f"{lean['wall_s']:.2f}", f"{lean['cpu_s']:.2f}"] if lean else ["", ""]
    cells += [
        _middle(figures.get(f"{what}_{clock}")) for what in ("lineage", "hashes") for clock in ("wall_s", "cpu_s")
    ]
    cells.append(f"{peer['wall_s'] / ours['wall_s']:.1f}" if peer else "")
    # Rows of the first days hold no ratios of neighbouring runs.
    ratios = figures.get("x_floor", [ours["wall_s"] / floor["wall_s"]])
    cells += [_middle(ratios), f"<= {limit}" if limit else ""]
    return "| " + " | ".join([*cells, f"{ours['mib']:.0f}", figures["date"]]) + " |"


def _middle(ratios: list[float] | None) -> str:
    return f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]" if ratios else ""


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
    listed = "".join(
        f"  - {{model: {root / name}, parameters: {{weight: 0.5}}}}\n" for name in ("expert-0", "expert-1")
    )
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
    """Print all tables, measuring what is not kept; of rows that are named ("1B/linear"), their tables alone."""
    with tempfile.TemporaryDirectory(prefix="mergebarrier-bench-") as folder:
        scratch = Path(folder)
        if sys.argv[1:]:
            speed(scratch, sys.argv[1:])
            return
        starts(models(scratch / TINY, TINY))
        speed(scratch, [f"{table}/{method}" for table, (_, _, limits) in TABLES.items() for method in limits])
        memory({LARGE: models(scratch / LARGE, LARGE, repeat=True)})


if __name__ == "__main__":
    main()
