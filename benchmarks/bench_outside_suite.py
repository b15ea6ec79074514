"""mergekit's own tests, run on this repository's engine: how many of those about behaviour pass, and why others do not.

The source distribution of mergekit 0.1.5 is fetched into a temporary folder; ``outside_suite/shim`` answers to its name
with our engine, ``outside_suite/stand_in.py`` takes the place of the one file its tests lack. Only counts are kept:
mergekit is LGPL-3.0, and no line of it, nor of its tests, is here.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERSION = "0.1.5"
HERE = Path(__file__).parent / "outside_suite"
ROOT = Path(__file__).parents[1]
_TRUNCATED = "expects the donor's vocab_size after a cut; ours follows the rows, else the model does not load"
_ZERO_SUM = "expects NaN or infinity from weights that sum to zero; ours refuses them"
_COUNTERS = "counters of training steps differ between any two trainings: ours are the donor's, with a note"
#: Test -> why it fails, for those that fail for a reason of ours.
REASONS = {
    "test_linear_zero_weight_sum_follows_tensor_division": _ZERO_SUM,
    "test_gradient_interpretation_uses_declared_type": "a word of text that is a number is a number in every parameter",
    "test_single_conditional_parameter_and_filter_fallback": "reads the description of a method's parameters",
    "test_truncation_preserves_donor_config": _TRUNCATED,
    "test_truncation_copies_out_of_range_metadata": _TRUNCATED,
    "test_module_buffers_are_not_numerically_merged": _COUNTERS,
    "test_lazy_unpickle": "the weights are a pickle, which is never read",
}


def fetch(folder: Path) -> Path:
    """Download the source distribution and return its unpacked folder."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, f"mergekit=={VERSION}", "-d", str(folder)], check=True, stdout=sys.stderr)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"mergekit-{VERSION}"


def run_suite(folder: Path) -> list[dict[str, Any]]:
    """Run all tests of the distribution on the shim; return one row per test."""
    suite = folder / "suite"  # without the package of the distribution, which would be found before the shim
    suite.mkdir()
    tests = (fetch(folder) / "tests").rename(suite / "tests")
    (tests / "__init__.py").touch()
    (tests / "common.py").write_text((HERE / "stand_in.py").read_text())
    outcomes = folder / "outcomes.jsonl"
    environment = {
        **os.environ,
        "OUTCOMES": str(outcomes),
        "PYTHONPATH": os.pathsep.join(map(str, (HERE / "shim", ROOT / "src", HERE))),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "outcomes", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command = [*pytest, "--rootdir", str(tests.parent), str(tests)]
    ran = subprocess.run(command, cwd=tests.parent, env=environment, stdout=subprocess.PIPE, text=True)
    if ran.returncode not in (0, 1):
        raise RuntimeError(ran.stdout[-3000:])
    return [json.loads(line) for line in outcomes.read_text().splitlines()]


def reason(row: dict[str, Any]) -> str | None:
    """Return why a test fails, None when nobody has looked into it."""
    return REASONS.get(row["test"])


def counts(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return how many were there, ran and passed."""
    ran = [row for row in rows if row["outcome"] in ("passed", "failed")]
    return {
        "collected": len(rows),
        "out": sum(row["outcome"] == "out" for row in rows),
        "skipped": sum(row["outcome"] == "skipped" for row in rows),
        "behavioural": len(ran),
        "passed": sum(row["outcome"] == "passed" for row in ran),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the counts as Markdown."""
    found = counts(rows)
    lines = [
        f"mergekit {VERSION}'s own tests on our engine, through a package of its name that maps its calls to ours.",
        "",
        "Out: the test uses a class of mergekit's making (kernels, task graph, tables of architectures, programs).",
        "Skipped: by the test itself, which needs CUDA or MPS.",
        "",
        "| file | collected | out | skipped | behavioural | passed | failed |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for file in sorted({row["file"] for row in rows}):
        seen = Counter(row["outcome"] for row in rows if row["file"] == file)
        ran = seen["passed"] + seen["failed"]
        numbers = (sum(seen.values()), seen["out"], seen["skipped"], ran, seen["passed"], seen["failed"])
        lines.append(f"| {file} | {' | '.join(map(str, numbers))} |")
    failed = found["behavioural"] - found["passed"]
    numbers = (found["collected"], found["out"], found["skipped"], found["behavioural"], found["passed"], failed)
    lines.append(f"| all | {' | '.join(map(str, numbers))} |")
    share = found["passed"] / found["behavioural"]
    lines += [
        "",
        f"Of {found['behavioural']} behavioural tests {found['passed']} pass ({share:.1%}).",
        "",
        "| failing test | cases | reason |",
        "|---|---:|---|",
    ]
    failures = Counter((row["test"], reason(row) or row["fault"]) for row in rows if row["outcome"] == "failed")
    lines += [f"| {test} | {count} | {why} |" for (test, why), count in sorted(failures.items())]
    touched = Counter(row["fault"].rpartition(": ")[2] for row in rows if row["outcome"] == "out")
    names = ", ".join(f"`{name}` {count}" for name, count in touched.most_common())
    lines += ["", f"What the tests that are out touch first, and how many of them: {names}."]
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(table(run_suite(Path(scratch))))
