"""Two real adapters merged in product space, cut to smaller ranks, and merged apart: what each keeps of both skills.

The experts of the demo are stored whole, so their adapters are cut out of them first: the best rank 8 of every task
vector.  Everything after that is the command line, and what is scored is BASE+ADAPTER, without a merged copy.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.zoo import demo_assets

RANK = 8
SUM = ["--method", "task_arithmetic"]
TIES = ["--density", "0.5", "--rank", str(2 * RANK)]
MERGES = {
    "sum, exact (rank 16)": SUM,
    "sum, cut to rank 8": [*SUM, "--rank", "8"],
    "sum, cut to rank 4": [*SUM, "--rank", "4"],
    "sum, A and B apart (factor space)": [*SUM, "--lora-space", "factor"],
    "mean, exact": ["--method", "linear"],
    "mean, A and B apart (factor space)": ["--method", "linear", "--lora-space", "factor"],
    "ties, density 0.5, rank 16": ["--method", "ties", *TIES],
    "knots with ties, density 0.5, rank 16": ["--method", "knots", *TIES],
}


def cut_out(base: Path, expert: Path, out: Path) -> None:
    """Write the best adapter of rank RANK for what an expert changed in its linear maps."""
    tensors = {}
    with open_checkpoint(base) as before, open_checkpoint(expert) as after:
        for name in before.tensors:
            if name.endswith("_proj.weight"):
                u, s, vt = torch.linalg.svd(after.read(name).double() - before.read(name).double(), full_matrices=False)
                roots, module = s[:RANK].sqrt(), f"base_model.model.{name.removesuffix('.weight')}"
                tensors[f"{module}.lora_A.weight"] = (roots.unsqueeze(1) * vt[:RANK]).float().contiguous()
                tensors[f"{module}.lora_B.weight"] = (u[:, :RANK] * roots).float().contiguous()
    out.mkdir()
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    modules = sorted({name.split(".")[-3] for name in tensors})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": modules}
    (out / "adapter_config.json").write_text(json.dumps(config))


def run(*words: object) -> dict[str, Any]:
    """Run one command and return its JSON document."""
    command = [sys.executable, "-m", "mergebarrier", *map(str, words), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def main() -> None:
    """Print one table."""
    torch.set_num_threads(1)
    assets = demo_assets()
    tasks = [word for task in (assets.task_a, assets.task_b) for word in ("--task", task.test)]

    def row(what: str, model: object, residual: str = "", crossed: str = "") -> None:
        rows = run("evaluate", model, *tasks)["tasks"]
        skills = " | ".join(f"{r['rate']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for r in rows)
        print(f"| {what} | {skills} | {residual} | {crossed} |", flush=True)

    print(
        "Exact match on the test rows of both tasks of the demo, with 95 % Wilson intervals; the residual is the share"
    )
    print("of the update that a rank leaves out, the cross terms are those of factors that are merged apart.\n")
    print("| model | task A | task B | residual | cross terms |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        adapters = []
        for name, expert in (("A", assets.expert_a), ("B", assets.expert_b)):
            row(f"expert {name}, whole", expert)
            adapters.append(folder / name)
            cut_out(assets.base, expert, adapters[-1])
            row(f"adapter {name}, rank {RANK} of it", f"{assets.base}+{adapters[-1]}")
        run("merge", assets.expert_a, assets.expert_b, "--base", assets.base, *SUM, "-o", folder / "whole")
        row("sum of the whole experts", folder / "whole")
        for i, (what, words) in enumerate(MERGES.items()):
            out = folder / str(i)
            found = run("merge", *adapters, "--base", assets.base, *words, "--as", "adapter", "-o", out)["checks"]
            crossed = f"{found['cross_terms']:.2f}" if "cross_terms" in found else ""
            row(what, f"{assets.base}+{out}", f"{found['residual']:.2g}", crossed)


if __name__ == "__main__":
    main()
