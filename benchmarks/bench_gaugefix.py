"""``gaugefix`` beside the same attack before the axis language, and beside reading and rewriting the same files.

Also of a model whose experts are one tensor per layer and matrix (805 MB a layer).  The expert of 7B is a base with an
adapter, so that 41 GB of scratch space are enough.  Names of shapes as arguments choose among them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from _models import SHAPES, anonymous_bytes, parameters, write

if TYPE_CHECKING:
    from mergebarrier.verbs import OutputOptions

REPEATS = {"135M": 3, "1B": 1, "experts": 1, "7B": 1}
#: The commit before the axis language; its tree is unpacked from this repository.
BEFORE = "cc7f83b"
WORKERS = 2
KEY_BYTE = 7
RANK = 16
STEP = 0.01
LABELS = {
    "rewrite": "read and rewrite (floor)",
    "protect": "protect, lossless",
    "before": f"gaugefix at {BEFORE}",
    "gaugefix": "gaugefix",
}


def rewrite(source: Path, out: Path) -> None:
    """Read every byte and write it again, flushed to disk."""
    out.mkdir()
    for path in sorted(source.iterdir()):
        with open(out / path.name, "wb") as file:
            file.write(path.read_bytes())
            file.flush()
            os.fsync(file.fileno())


def protect(model: str, out: Path) -> None:
    """Protect a folder, or ``BASE+ADAPTER``, without loss."""
    import mergebarrier as mb
    from mergebarrier.keys import Key

    mb.protect(model, out, method=mb.Exact(), key=Key(bytes([KEY_BYTE]) * 32), write=mb.WriteOptions(workers=WORKERS))


def protect_again(source: Path, out: Path) -> None:
    """Protect as the command does, in this process."""
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.keys import Key
    from mergebarrier.protect import Exact

    with open_checkpoint(source) as model:
        verbs.protect(model, Exact(), Key(bytes([KEY_BYTE]) * 32), _into(out))


def gaugefix(source: Path, base: Path, out: Path) -> None:
    """Realign as the command does, in this process."""
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.realign import GaugeFix

    with open_checkpoint(source) as model, open_checkpoint(base) as anchor:
        verbs.realign(model, anchor, GaugeFix(), _into(out))


def _into(out: Path) -> "OutputOptions":
    """Say where to and how; the code before called its options otherwise."""
    from mergebarrier import verbs

    return (getattr(verbs, "OutputOptions", None) or verbs.Into)(out, workers=WORKERS)


def measured(job: str, paths: list[Path], source: Path | None = None) -> dict[str, float]:
    """Run one job in a fresh process, of another tree of ours if one is given; imports are paid before the clock."""
    environment = os.environ | ({"PYTHONPATH": str(source)} if source else {})
    words = [sys.executable, __file__, "--job", job, *map(str, paths)]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(said.splitlines()[-1])


def child(job: str, paths: list[Path]) -> None:
    """Do one job and print its wall time, processor time and peak anonymous memory above the imports."""
    from mergebarrier.cli._options import keep_freed_memory

    keep_freed_memory()
    jobs = {"rewrite": rewrite, "protect": protect_again}
    with tempfile.TemporaryDirectory() as scratch:
        base, expert = write(Path(scratch) / "base", "tiny"), write(Path(scratch) / "expert", "tiny", step=STEP)
        gaugefix(expert, base, Path(scratch) / "realigned")
        if job == "protect":
            protect_again(expert, Path(scratch) / "protected")
    before, peak, running = anonymous_bytes(), [0], [True]

    def watch() -> None:
        while running[0]:
            peak[0] = max(peak[0], anonymous_bytes())
            time.sleep(0.02)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started, cpu = time.perf_counter(), time.process_time()
    jobs.get(job, gaugefix)(*paths)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    running[0] = False
    watcher.join()
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "anonymous_mb": (peak[0] - before) / 2**20}))


def write_adapter(folder: Path, shape: str) -> Path:
    """Write a LoRA on every linear map, whose product has the size of a step of one percent."""
    s = SHAPES[shape]
    h, m, width = s["hidden"], s["mlp"], s["hidden"] // s["heads"] * s["kv"]
    sizes = {"q_proj": (h, h), "k_proj": (width, h), "v_proj": (width, h), "o_proj": (h, h)}
    blocks = {"self_attn": sizes, "mlp": {"gate_proj": (m, h), "up_proj": (m, h), "down_proj": (h, m)}}
    generator, tensors = torch.Generator().manual_seed(5), {}
    for i in range(s["layers"]):
        for block, members in blocks.items():
            for name, (rows, columns) in members.items():
                stem = f"base_model.model.model.layers.{i}.{block}.{name}"
                tensors[f"{stem}.lora_A.weight"] = torch.randn(RANK, columns, generator=generator)
                tensors[f"{stem}.lora_B.weight"] = (
                    0.03 * STEP / RANK**0.5 * torch.randn(rows, RANK, generator=generator)
                )
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": [*sizes, *blocks["mlp"]]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def landed_before(scratch: Path) -> Path:
    """Unpack the source of the commit before."""
    folder = scratch / "before"
    folder.mkdir()
    packed = subprocess.run(
        ["git", "archive", BEFORE, "src"], check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder / "src"


def measure(root: Path, shape: str, before: Path) -> dict[str, list[dict[str, float]]]:
    """Make the models of a shape and run its jobs in turn."""
    base = write(root / "base", shape, repeat=shape == "7B")
    if shape == "7B":
        expert = f"{base}+{write_adapter(root / 'adapter', shape)}"
    else:
        expert = str(write(root / "expert", shape, step=STEP))
    protect(expert, root / "protected")
    subprocess.run(["rm", "-rf", str(root / "expert")], check=True)
    realign = [root / "protected", base, root / "out"]
    jobs = {"rewrite": [root / "protected", root / "out"], "gaugefix": realign}
    if shape == "experts":
        jobs["protect"] = [base, root / "out"]
    if shape in ("135M", "1B"):
        jobs["before"] = realign
    runs: dict[str, list[dict[str, float]]] = {job: [] for job in jobs}
    for _ in range(REPEATS[shape]):
        for job, paths in jobs.items():
            runs[job].append(measured(job, paths, before if job == "before" else None))
            subprocess.run(["rm", "-rf", str(root / "out")], check=True)
    return runs


def report(shape: str, runs: dict[str, list[dict[str, float]]]) -> None:
    """Print medians and the peak of memory."""
    size = parameters(shape)
    repeats = len(next(iter(runs.values())))
    kind = "GPT-OSS with 32 experts in one tensor" if shape == "experts" else "Llama"
    print(f"\n{kind}, {size / 1e6:.0f}M weights in bfloat16 ({2 * size / 2**20:.0f} MiB), lossless key, ", end="")
    print(f"{WORKERS} workers, medians of {repeats} alternating runs, imports excluded.\n")
    print("| job | wall s | processor s | anonymous MiB above the import |\n|---|---|---|---|")
    for job, taken in runs.items():
        wall, cpu = (statistics.median(run[key] for run in taken) for key in ("wall_s", "cpu_s"))
        print(
            f"| {LABELS[job]} | {wall:.1f} | {cpu:.1f} | {max(run['anonymous_mb'] for run in taken):.0f} |", flush=True
        )


def main(shapes: list[str]) -> None:
    """Print one table per shape."""
    with tempfile.TemporaryDirectory(prefix="mergebarrier-bench-") as scratch:
        before = landed_before(Path(scratch))
        for shape in shapes or REPEATS:
            root = Path(scratch) / shape
            root.mkdir()
            report(shape, measure(root, shape, before))
            subprocess.run(["rm", "-rf", str(root)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        child(sys.argv[2], [Path(word) for word in sys.argv[3:]])
    else:
        main(sys.argv[1:])
