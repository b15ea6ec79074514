"""Kills and resumes of audits on several workers: what is measured again, and whether the rows are other ones.

Thirty times for each engine: wait until a drawn number of further rows is on the disk, then kill the audit itself or
one of its workers, and go on with ``--resume``; an audit that came to its end makes room for another.  The rows at the
end are held against those of one process, without what a clock says.  ``--print`` shows what there is; finished
engines are kept in benchmarks/results/engines.jsonl, and a run that was stopped goes on with the kills it has counted.
"""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import mergebarrier as mb
import tiny_world
from _keep import Rows, asked, say
from mergebarrier.keys import Key

WORK = Path(tempfile.gettempdir()) / "mergebarrier-engines"
KEPT = Path(__file__).parent / "results" / "engines.jsonl"
ENGINES, KILLS, WORKERS = ("process", "ray"), 30, 2
#: Further rows before a kill, at most; seconds after them, at most; seconds without one after which something is wrong.
ROWS, AFTER, STUCK = 4, 0.3, 300.0
GRID = ("--merges", "linear,task_arithmetic,ties,slerp", "--coefficients", "0.3,0.5,0.7", "--budget", "12",
        "--smooth", "4", "--learn", "2", "--threads", "1")  # fmt: skip
CLOCKS = ("seconds", "merge_seconds")


def command(world: tiny_world.World, protected: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of the audit."""
    named = {"--original": world.original, "--base": world.base, "--partner": world.partner, "--task": world.task,
             "--partner-task": world.partner_task, "--validation": world.validation,
             "--partner-validation": world.partner_validation, "--text": world.text}  # fmt: skip
    given = [str(word) for pair in named.items() for word in pair]
    return [sys.executable, "-m", "mergebarrier", "audit", str(protected), *given, *GRID, "-o", str(out), *more]


def timeless(out: Path) -> list[dict[str, Any]]:
    """Return the rows of a finished report in their order, without what a clock says."""
    rows = [dataclasses.asdict(row) for row in mb.report(out).records]
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]


class Audit:
    """One run of the command, the workers that it has told of, and the rows that its tasks have on the disk."""

    def __init__(self, words: Sequence[str], tasks: Path) -> None:
        """Start it."""
        self._tasks, self.workers, self.told = tasks, list[int](), list[str]()
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told = [*self.told[-20:], line]
            if line.startswith("task ") and " process " in line:
                self.workers.append(int(line.rpartition(" process ")[2].split()[0]))

    def lines(self) -> dict[str, list[bytes]]:
        """Return the finished rows of every task."""
        return lines_of(self._tasks)

    def goes_on(self, count: int) -> bool:
        """Wait until so many rows are there; say whether the audit is still running."""
        until = time.monotonic() + STUCK
        while self.process.poll() is None and sum(map(len, self.lines().values())) < count:
            if time.monotonic() > until:
                raise SystemExit(f"no row in {STUCK:.0f} s: {self.told}")
            time.sleep(0.02)
        return self.process.poll() is None


def lines_of(tasks: Path) -> dict[str, list[bytes]]:
    """Return the whole lines of every file of a folder."""
    found = {path.name: path.read_bytes().splitlines(keepends=True) for path in tasks.glob("*.jsonl")}
    return {name: [line for line in lines if line.endswith(b"\n")] for name, lines in found.items()}


def again(before: dict[str, list[bytes]], now: dict[str, list[bytes]]) -> int:
    """Return the rows that are not the lines they were, and those that were there and were appended once more.

    With its seconds in it, a row that was measured again would be another line.
    """
    known = {json.loads(line)["row_id"] for lines in before.values() for line in lines}
    lost = sum(line not in now.get(name, []) for name, lines in before.items() for line in lines)
    fresh = [line for name, lines in now.items() for line in lines[len(before.get(name, [])) :]]
    return lost + sum(json.loads(line)["row_id"] in known for line in fresh)


def killed(engine: str, world: tiny_world.World, protected: Path, folder: Path) -> dict[str, Any]:
    """Kill and resume until it has been done often enough; return what that did."""
    plain, counts = folder / "serial", folder / f"{engine}.json"
    if not (plain / "result.json").exists():
        words = command(world, protected, plain, *(["--resume"] if plain.exists() else []))
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wanted, rng, started = timeless(plain), random.Random(), time.perf_counter()
    found = {"audits": 0, "killed": 0, "workers": 0, "again": 0, "other": 0, "rows": len(wanted), "seconds": 0.0}
    found |= json.loads(counts.read_text()) if counts.exists() else {}
    rng.seed(f"{engine} {found['killed']} {found['workers']}")
    before = found["seconds"]
    while found["killed"] + found["workers"] < KILLS:
        out = folder / f"{engine}-{found['audits']}"
        while not (out / "result.json").exists():
            words = command(world, protected, out, "--engine", engine, "--workers", str(WORKERS))
            one_run(engine, words, out, rng, found)
            found["seconds"] = before + time.perf_counter() - started
            counts.write_text(json.dumps(found))
            say(f"{engine}: {found}")
        found["audits"] += 1
        ours = timeless(out)
        found["other"] += sum(one != two for one, two in zip(ours, wanted, strict=False)) + abs(len(ours) - len(wanted))
        counts.write_text(json.dumps(found))
    return found


def one_run(engine: str, words: list[str], out: Path, rng: random.Random, found: dict[str, Any]) -> None:
    """Start or resume an audit, and kill it or its workers until it has ended."""
    tasks = out / "work" / "tasks"
    before = lines_of(tasks)
    audit = Audit([*words, *(["--resume"] if out.exists() else [])], tasks)
    while found["killed"] + found["workers"] < KILLS:
        at = sum(map(len, audit.lines().values())) + rng.randrange(ROWS + 1)
        if not audit.goes_on(max(1, at)):
            break
        time.sleep(rng.random() * AFTER)
        now = audit.lines()
        found["again"] += again(before, now) if now else 0
        before = now or before
        worker = audit.workers.pop() if audit.workers and rng.random() < 0.5 else 0
        try:
            os.kill(worker or audit.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        found["workers" if worker else "killed"] += 1
        if not worker:
            break
        audit.workers = [one for one in audit.workers if one != worker]
    code = audit.process.wait()
    now = lines_of(tasks)
    found["again"] += again(before, now) if now else 0
    if code > 0 and "MB9009" not in "".join(audit.told):
        raise SystemExit(f"{engine}: the audit ended with {code}: {audit.told}")


def show(kept: Rows) -> None:
    """Print the table."""
    print(f"Audits of the tiny world by {WORKERS} workers, killed {KILLS} times at random rows and resumed.\n")
    print("| engine | audits | kills of the audit | kills of a worker | rows | measured again | unlike one process | "
          "seconds |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for engine in ENGINES:
        if kept.has([engine]):
            row = kept.rows[json.dumps([engine])]
            shown = [row[name] for name in ("audits", "killed", "workers", "rows", "again", "other")]
            print(f"| {engine} | {' | '.join(map(str, shown))} | {row['seconds']:.0f} |")


def main() -> None:
    """Measure the engines that are not there yet, and print what there is."""
    kept = Rows(KEPT)
    if "--print" not in sys.argv[1:]:
        WORK.mkdir(parents=True, exist_ok=True)
        world, protected = tiny_world.World.below(WORK), WORK / "protected"
        if not protected.exists():
            world = tiny_world.make(WORK)
            mb.protect(world.original, protected, method=mb.Exact(), key=Key(bytes([1]) * 32))
        for engine in asked(ENGINES):
            kept.get([engine], lambda engine=engine: killed(engine, world, protected, WORK))
    show(kept)


if __name__ == "__main__":
    main()
