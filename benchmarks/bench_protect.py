"""``protect`` and ``gaugefix`` beside their floor, reading and rewriting the same files in one run: time and memory."""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from _models import SHAPES, anonymous_bytes, parameters, write

REPEATS = {"135M": 5, "1B": 2}
JOBS = {"135M": ("rewrite", "lossless", "full", "gaugefix"), "1B": ("rewrite", "lossless", "full")}
WORKERS = 2
KEY_BYTE = 7


def rewrite(source: Path, out: Path) -> None:
    """Read every byte and write it again, flushed to disk: what any tool that writes a model must at least do."""
    import os

    out.mkdir()
    for path in sorted(source.iterdir()):
        data = path.read_bytes()
        with open(out / path.name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def protect(source: Path, out: Path, profile: str) -> None:
    """Protect as the command does, in this process."""
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.keys import Key
    from mergebarrier.protect import Exact

    with open_checkpoint(source) as checkpoint:
        verbs.protect(
            checkpoint, Exact(profile=profile), Key(bytes([KEY_BYTE]) * 32), verbs.OutputOptions(out, workers=WORKERS)
        )


def gaugefix(source: Path, base: Path, out: Path) -> None:
    """Realign as the command does, in this process."""
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.realign import GaugeFix

    with open_checkpoint(source) as model, open_checkpoint(base) as anchor:
        verbs.realign(model, anchor, GaugeFix(), verbs.OutputOptions(out, workers=WORKERS))


def measured(job: str, *paths: str) -> dict[str, float]:
    """Run one job in a fresh process; imports are paid before the clock starts."""
    line = subprocess.run(
        [sys.executable, __file__, job, *paths], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()[-1]
    return json.loads(line)


def child(job: str, paths: list[Path]) -> None:
    """Do one job and print its wall time, processor time and peak anonymous memory above the imports."""
    from mergebarrier.cli._options import keep_freed_memory

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:  # what is imported when it is first needed is paid for here
        root = Path(scratch)
        base, expert = write(root / "base", "tiny"), write(root / "expert", "tiny", step=0.01)
        protect(expert, root / "protected", "full")
        gaugefix(root / "protected", base, root / "realigned")
    before, peak, running = anonymous_bytes(), [0], [True]

    def watch() -> None:
        while running[0]:
            peak[0] = max(peak[0], anonymous_bytes())
            time.sleep(0.02)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started, cpu = time.perf_counter(), time.process_time()
    if job == "rewrite":
        rewrite(*paths)
    elif job == "gaugefix":
        gaugefix(*paths)
    else:
        protect(*paths, profile=job)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    running[0] = False
    watcher.join()
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "anonymous_mb": (peak[0] - before) / 2**20}))


def largest_circuits_mb(shape: str) -> float:
    """Return two of the largest circuits of a shape in bfloat16: the MLPs of two layers."""
    return 2 * 3 * SHAPES[shape]["hidden"] * SHAPES[shape]["mlp"] * 2 / 2**20


def main() -> None:
    """Print one table per shape."""
    with tempfile.TemporaryDirectory(prefix="mergebarrier-bench-") as scratch:
        for shape, repeats in REPEATS.items():
            root = Path(scratch) / shape
            base, expert = write(root / "base", shape), write(root / "expert", shape, step=0.01)
            runs: dict[str, list[dict[str, float]]] = {job: [] for job in JOBS[shape]}
            for n in range(repeats):
                for job, taken in runs.items():
                    out = root / f"{job}-{n}"
                    inputs = [root / f"lossless-{n}", base] if job == "gaugefix" else [expert]
                    taken.append(measured(job, *map(str, inputs), str(out)))
                for job in runs:
                    subprocess.run(["rm", "-rf", str(root / f"{job}-{n}")], check=True)
            report(shape, runs)
            subprocess.run(["rm", "-rf", str(root)], check=True)


def report(shape: str, runs: dict[str, list[dict[str, float]]]) -> None:
    """Print medians, the ratio of medians to the floor, and memory."""
    allowed = 300 + largest_circuits_mb(shape)
    size = parameters(shape)
    print(f"\nLlama of {size / 1e6:.0f}M weights in bfloat16 ({2 * size / 2**20:.0f} MiB), {WORKERS} workers, ", end="")
    print(f"medians of {len(runs['rewrite'])} alternating runs, imports excluded, every file flushed to disk.\n")
    print("| job | wall s | processor s | times the floor | anonymous MiB above the import | targets |")
    print("|---|---|---|---|---|---|")
    labels = {"rewrite": "read and rewrite (floor)", "lossless": "protect, lossless", "full": "protect, full"}
    targets = {"lossless": f"<= 2.5 x, <= {allowed:.0f} MiB", "full": f"<= 2.5 x, <= {allowed:.0f} MiB"}
    targets["gaugefix"] = "<= 60 s on 135M"
    floor = statistics.median(run["wall_s"] for run in runs["rewrite"])
    for job, taken in runs.items():
        wall, cpu = (statistics.median(run[key] for run in taken) for key in ("wall_s", "cpu_s"))
        memory = max(run["anonymous_mb"] for run in taken)
        ratio = f"{wall / floor:.2f}"
        print(f"| {labels.get(job, job)} | {wall:.2f} | {cpu:.2f} | {ratio} | {memory:.0f} | {targets.get(job, '')} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], [Path(word) for word in sys.argv[2:]])
    else:
        main()
