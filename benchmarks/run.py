"""Run the benchmarks one after the other and keep what each prints, with the machine and the date above it."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def machine() -> str:
    """Describe the processor, memory and versions; no name of a host or a user."""
    model, memory = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        rows = [row for row in Path("/proc/cpuinfo").read_text().splitlines() if row.startswith("model name")]
        model = rows[0].split(":")[1].strip() if rows else model
        kib = int(Path("/proc/meminfo").read_text().split()[1])
        memory = f", {kib / 2**20:.0f} GiB"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "safetensors", "numpy"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores{memory}; {platform.system()}, Python {platform.python_version()}, {versions}"


def run(script: Path, options: list[str]) -> bool:
    """Run one benchmark and write its table; return whether it finished."""
    name = script.stem.removeprefix("bench_")
    sys.stderr.write(f"{name} ...\n")
    started = time.perf_counter()
    done = subprocess.run([sys.executable, str(script), *options], stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    if done.returncode != 0:
        sys.stderr.write(f"{name} failed with exit code {done.returncode}; its old table stays\n")
        return False
    head = f"# {name}\n\n{datetime.date.today().isoformat()}, `python benchmarks/run.py {name}`, on {machine()}\n\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(head + done.stdout, encoding="utf-8")
    sys.stderr.write(f"{name}: {time.perf_counter() - started:.0f} s, benchmarks/results/{name}.md\n")
    return True


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all, with the options that are given; return 1 when one did not finish."""
    options = [name for name in names if name.startswith("--")]
    names = [name for name in names if name not in options]
    scripts = sorted(HERE.glob("bench_*.py"))
    known = {script.stem.removeprefix("bench_"): script for script in scripts}
    unknown = [name for name in names if name not in known]
    if options and not names:
        sys.stderr.write(f"error: {' '.join(options)} is an option of a benchmark; name one of {', '.join(known)}\n")
        return 64
    if unknown:
        sys.stderr.write(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(known)}\n")
        return 64
    return 0 if all([run(known[name], options) for name in names or known]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
