"""Why MergeBarrier's attention half hurts the small encoder more: what its reflections leave of a merge.

At coefficient c task arithmetic leaves W_0 + c (P W - W_0) of a reflected direction, about (1 - 2c) W: .4 of queries
and of keys at .3, so .16 of their products.  Here the merge that nobody protected has its queries and keys shrunk so
along the half of directions with most energy, which MergeBarrier reflects, or along the other half, or has no queries.
Finished cells are kept.
"""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from _keep import Rows
from bench_vision_protections import MERGES, SIZES, World
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import ModuleSink
from mergebarrier.merge import plan
from mergebarrier.run import transform

KEPT = Path(__file__).parent / "results" / "reflections.jsonl"
LEFT, SHARE = 0.4, 0.5


def pour(world: World) -> None:
    """Merge all experts into the encoder."""
    with ExitStack() as stack:
        paths = (world.base, *world.experts.values())
        base, *experts = (stack.enter_context(open_checkpoint(path)) for path in paths)
        made = plan(MERGES["task arithmetic, 0.3"], base, experts)
        transform(made.sources, ModuleSink(world.encoder.get_submodule("body")), made.units, made.apply, workers=1)


def shrink(world: World, *, top: bool) -> float:
    """Shrink queries and keys along half of the directions of every head; return the mean energy of the upper half."""
    body: Any = world.encoder.get_submodule("body")
    shares = []
    for layer in body.encoder.layer:
        maps = (layer.attention.q_proj, layer.attention.k_proj)
        width = maps[0].weight.shape[0] // body.config.num_attention_heads
        for start in range(0, maps[0].weight.shape[0], width):
            rows = slice(start, start + width)
            sides = [torch.cat([one.weight[rows], one.bias[rows, None]], 1).double() for one in maps]
            values, vectors = torch.linalg.eigh(sum(side @ side.T for side in sides))
            half = round(SHARE * width)
            shares.append(float(values[-half:].sum() / values.sum()))
            chosen = vectors[:, -half:] if top else vectors[:, :half]
            left = torch.eye(width, dtype=torch.float64) - (1 - LEFT) * chosen @ chosen.T
            for one in maps:
                one.weight[rows] = (left @ one.weight[rows].double()).float()
                one.bias[rows] = (left @ one.bias[rows].double()).float()
    return sum(shares) / len(shares)


@torch.no_grad()
def cell(world: World, task: str) -> dict[str, Any]:
    """Count the pictures that every merge names right."""
    pour(world)
    found: dict[str, Any] = {"n": SIZES[world.size].pictures, "merge": world.correct(task)}
    found["energy"] = round(shrink(world, top=True), 3)
    found["upper half"] = world.correct(task)
    pour(world)
    shrink(world, top=False)
    found["lower half"] = world.correct(task)
    pour(world)
    body: Any = world.encoder.get_submodule("body")
    for layer in body.encoder.layer:
        layer.attention.q_proj.weight.zero_()
        layer.attention.q_proj.bias.zero_()
    return found | {"no queries": world.correct(task)}


def main() -> None:
    """Print a row per encoder, in per cent over its four tasks."""
    kept, columns = Rows(KEPT), ("merge", "upper half", "lower half", "no queries")
    print(f"| encoder | energy of the upper half | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
    for size in ("small", "dino"):
        world = World(size)
        rows = [kept.get([size, task], lambda world=world, task=task: cell(world, task)) for task in world.tasks]
        n = sum(row["n"] for row in rows)
        shares = [f"{100 * sum(row[column] for row in rows) / n:.1f}" for column in columns]
        print(f"| {size} | {rows[0]['energy']:.3f} | {' | '.join(shares)} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
