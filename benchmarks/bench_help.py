"""How long a person waits for ``--help``, and what importing the package costs, beside an empty interpreter."""

import statistics
import subprocess
import sys
import time

REPEATS = 15
CASES = {
    "an empty interpreter (floor)": ["-c", "pass"],
    "`import mergebarrier`": ["-c", "import mergebarrier"],
    "`mergebarrier --version`": ["-m", "mergebarrier", "--version"],
    "`mergebarrier --help`": ["-m", "mergebarrier", "--help"],
    "`mergebarrier protect --help`": ["-m", "mergebarrier", "protect", "--help"],
    "`import torch` (what the above must not do)": ["-c", "import torch"],
}
TARGET_S = {"`import mergebarrier`": 0.3, "`mergebarrier --help`": 0.3}


def wall_s(words: list[str]) -> float:
    """Return the wall time of one fresh interpreter, in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print one table: smallest and median of all repetitions, taken in turn."""
    times: dict[str, list[float]] = {label: [] for label in CASES}
    for _ in range(REPEATS):
        for label, words in CASES.items():
            times[label].append(wall_s(words))
    print(f"Wall time of a fresh process, {REPEATS} repetitions taken in turn.\n")
    print("| what | smallest, s | median, s | target, s |\n|---|---|---|---|")
    for label, taken in times.items():
        target = TARGET_S.get(label, "")
        print(f"| {label} | {min(taken):.3f} | {statistics.median(taken):.3f} | {target} |")


if __name__ == "__main__":
    main()
