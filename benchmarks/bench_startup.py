"""What a command costs beyond ``import torch``: tiny merge, tiny protect and ``--help``, all in one alternating run."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _models

REPEATS = 9
FLOOR = '`python -c "import torch"` (the floor)'
#: Where the machine of the targets took this long for each, when they were set.
TARGETS = {
    "`mergebarrier merge A B` of tiny models": "1.5 s where it was 1.9 s",
    "`mergebarrier protect MODEL` of a tiny model": "1.2 s where it was 1.8 s",
    "`mergebarrier --help`": "0.15 s where it was 0.06 s",
}


def measure(words: list[str]) -> tuple[float, float]:
    """Return wall time and processor time of one fresh interpreter, in seconds."""
    # As for a person: compiled files are kept beside the sources.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    used = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    return wall, used


def main() -> None:
    """Print one table: median wall and processor time, and what they are of the floor's."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        base = _models.write(folder / "base", "tiny")
        a, b = (_models.write(folder / f"expert{n}", "tiny", step=0.1, expert=n) for n in (1, 2))
        merge, protect, show = TARGETS
        out = ["--overwrite", "-q", "-o"]
        method = ["--base", str(base), "--method", "ties", "--density", "0.5"]
        cases = {
            FLOOR: ["-c", "import torch"],
            merge: ["-m", "mergebarrier", "merge", str(a), str(b), *method, *out, str(folder / "merged")],
            protect: ["-m", "mergebarrier", "protect", str(a), *out, str(folder / "protected")],
            show: ["-m", "mergebarrier", "--help"],
        }
        for words in cases.values():
            measure(words)
        times: dict[str, list[tuple[float, float]]] = {label: [] for label in cases}
        for _ in range(REPEATS):
            for label, words in cases.items():
                times[label].append(measure(words))
    middle = {label: [statistics.median(side) for side in zip(*taken, strict=True)] for label, taken in times.items()}
    print(f"Fresh processes, {REPEATS} of each taken in turn; medians, and what they are of the floor's.\n")
    print("| what | wall, s | processor, s | of the floor, wall | of the floor, processor | target |")
    print("|---|---|---|---|---|---|")
    for label, (wall, used) in middle.items():
        shares = [mine / floor for mine, floor in zip((wall, used), middle[FLOOR], strict=True)]
        print(f"| {label} | {wall:.2f} | {used:.2f} | {shares[0]:.2f} | {shares[1]:.2f} | {TARGETS.get(label, '')} |")


if __name__ == "__main__":
    main()
