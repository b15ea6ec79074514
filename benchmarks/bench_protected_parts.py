"""Which part of a protection a merge of image encoders falls over: attention's two gauges, the networks, the depth.

What PaRaMS, MergeLock and MergeBarrier change of queries and keys, of values and outputs, and of networks are functions
apart, so an expert may be published with one of them alone, or in the first half of its blocks; every such expert is
the same function.  It is merged with the other three by task arithmetic at 0.3 and scored on its own task, as in
bench_vision_protections.  Finished cells are kept.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import mergebarrier as mb
from _keep import Rows, asked, say
from bench_vision_protections import MERGES, SIZES, World
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.numerics import wilson
from mergebarrier.protect import protection_named

KEPT = Path(__file__).parent / "results" / "protected_parts.jsonl"
#: What is protected -> whether a tensor of a block takes part, from its name and the block's number over their count.
PARTS: Mapping[str, Callable[[str, float], bool]] = {
    "whole": lambda name, depth: True,
    "first half of the blocks": lambda name, depth: depth < 0.5,
    "queries and keys": lambda name, depth: "q_proj" in name or "k_proj" in name,
    "values and outputs": lambda name, depth: "v_proj" in name or "o_proj" in name,
    "networks": lambda name, depth: ".mlp." in name,
}
#: Parts that MergeBarrier's attention half has not: it is one change of queries and keys.
APART = ("queries and keys", "values and outputs", "networks")
METHODS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "params": ("params", {}),
    "params, paper": ("params", {"preset": "paper"}),
    "mergelock": ("mergelock", {}),
    "mergelock, paper": ("mergelock", {"preset": "paper"}),
    "mergebarrier, 1/8 flipped": ("mergebarrier", {"flip_fraction": 0.125}),
    "mergebarrier, 1/4 flipped": ("mergebarrier", {"flip_fraction": 0.25}),
    "mergebarrier, 1/2 flipped": ("mergebarrier", {}),
    "mergebarrier, keyed 1/2": ("mergebarrier", {"select": "keyed"}),
}


def mixed(stock: Path, protected: Path, part: Callable[[str, float], bool], out: Path) -> None:
    """Write the expert with the tensors of a part from its protected copy."""
    with open_checkpoint(stock) as before, open_checkpoint(protected) as after:
        count = 1 + max(int(name.split(".")[2]) for name in before.tensors if name.startswith("encoder.layer."))
        tensors = {}
        for name in before.tensors:
            inside = name.startswith("encoder.layer.") and part(name, int(name.split(".")[2]) / count)
            tensors[name] = (after if inside else before).read(name).contiguous()
    shutil.copytree(stock, out, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    save_file(tensors, out / "model.safetensors", {"format": "pt"})


def cells(world: World, method: str, task: str) -> dict[str, Any]:
    """Count the pictures that the merge with each part names right; the expert alone is checked as well."""
    name, parameters = METHODS[method]
    protection, stock = protection_named(name, parameters), world.experts[task]
    found: dict[str, Any] = {"n": SIZES[world.size].pictures, "classes": len(world.tasks[task].classes)}
    with tempfile.TemporaryDirectory() as work:
        protected = Path(work) / "protected"
        mb.protect(stock, protected, method=protection, key=Key(bytes([1]) * 32) if protection.keyed else None)
        for part, takes in PARTS.items():
            if name == "mergebarrier" and part in APART:
                continue
            out = Path(work) / part.replace(" ", "-")
            mixed(stock, protected, takes, out)
            found[part] = world.merged(out, task, MERGES["task arithmetic, 0.3"])["correct"]
            shutil.rmtree(out)
    return found


def main() -> None:
    """Print a table per encoder, in per cent over its four tasks, with 95 % intervals."""
    kept, sizes = Rows(KEPT), asked(SIZES)
    for size in ("small", "dino"):
        world = World(size)
        tables: dict[str, list[dict[str, Any]]] = {}
        for method in METHODS:
            for task in world.tasks:
                if size in sizes and "--print" not in sys.argv:
                    say(f"{size}: {method}, {task}")
                    kept.get([size, method, task], partial(cells, world, method, task))
            tables[method] = [kept.rows[f'["{size}", "{method}", "{task}"]'] for task in world.tasks]
        chance = 100 * sum(1 / row["classes"] for row in tables["params"]) / len(tables["params"])
        print(f"\n## {size}; a guess is right in {chance:.1f} % of its pictures\n")
        print(f"|  | {' | '.join(PARTS)} |\n|{'---|' * (len(PARTS) + 1)}")
        for method, rows in tables.items():
            print(f"| {method} | {' | '.join(_rate(rows, part) for part in PARTS)} |")


def _rate(rows: list[dict[str, Any]], part: str) -> str:
    if part not in rows[0]:
        return ""
    correct, n = sum(row[part] for row in rows), sum(row["n"] for row in rows)
    low, high = wilson(correct, n)
    return f"{100 * correct / n:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
