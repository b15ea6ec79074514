"""The image benches before any attack: what base, experts and clean merges can do, through the command line.

python benchmarks/bench_vision.py full        (or small; dino takes some minutes more)
"""

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import torch

from mergebarrier.cli import main as mergebarrier
from mergebarrier.zoo import expert, vision_bench

MERGES = {
    "weight average": ("linear",),
    "task arithmetic, 0.3": ("task_arithmetic", "--coefficient", "0.3"),
    "TIES, 20 %, sum, 0.3": ("ties", "--density", "0.2", "--reduce", "sum", "--coefficient", "0.3"),
    "DARE, drop 90 %, 0.3": ("dare_linear", "--density", "0.1", "--coefficient", "0.3"),
}


def run(*words: object) -> dict:
    """Run a verb and return its document."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = mergebarrier([*map(str, words), "--json", "--threads", "1"])
    document = json.loads(out.getvalue())
    if code:
        raise SystemExit(json.dumps(document))
    return document


def row(title: str, model: Path, tasks: dict[str, Path]) -> None:
    words = [word for path in tasks.values() for word in ("--task", path)]
    scores = run("evaluate", model, *words)["tasks"]
    cells = [f"{100 * score['rate']:.1f} [{100 * score['low']:.0f}, {100 * score['high']:.0f}]" for score in scores]
    mean = 100 * sum(score["rate"] for score in scores) / len(scores)
    print(f"| {title} | {' | '.join(cells)} | {mean:.1f} |")


def main(size: str) -> None:
    torch.set_num_threads(1)
    bench = vision_bench(size)
    print(f"# Image bench `{size}`: accuracy % on the test split with its 95 % interval, one seed\n")
    print(f"| model | {' | '.join(bench.tasks)} | mean |")
    print("|---" * (len(bench.tasks) + 2) + "|")
    row("base, zero-shot", bench.base, bench.tasks)
    experts = {task: expert(size, task) for task in bench.tasks}
    for task, folder in experts.items():
        row(f"expert of {task}", folder, bench.tasks)
    with tempfile.TemporaryDirectory() as folder:
        for number, (title, (method, *options)) in enumerate(MERGES.items()):
            out = Path(folder) / str(number)
            based = () if method == "linear" else ("--base", bench.base)
            run("merge", *experts.values(), *based, "--method", method, *options, "-o", out)
            row(title, out, bench.tasks)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "full")
