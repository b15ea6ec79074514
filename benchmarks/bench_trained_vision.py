"""Trained protections on the small bench of images, where their published figures are: four tasks protected in turn.

    python benchmarks/bench_trained_vision.py [--seeds 0 1 2] [--only LINE] [--print]

The expert is protected, merged with the other three by task arithmetic at one coefficient (.3, and the best of six on
the protected task's validation pictures), and scored on its own task; ARF also behind a lock, then realigned.  Finished
cells are kept in benchmarks/results/trained_vision.jsonl.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import mergebarrier as mb
from _keep import Rows, say
from bench_trained import Line
from bench_vision_protections import World
from mergebarrier import symmetry
from mergebarrier.audit.metrics import spread_of
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.evaluate import load_encoder, save_encoder
from mergebarrier.keys import Key
from mergebarrier.merge import make
from mergebarrier.protect import TRAINED, protection_named
from mergebarrier.realign import REALIGNMENTS
from mergebarrier.training import (
    FullRecipe,
    FullVector,
    OwnersBudget,
    PictureLearner,
    ProtectiveRecipe,
    ProtectiveState,
    train_protective,
)

KEPT = Path(__file__).parent / "results" / "trained_vision.jsonl"
STEPS, BATCH = 200, 32
PAID: Mapping[str, Any] = {"budget": 3.0, "learning_rate": 5e-4}
LINES: Mapping[str, Line] = {
    "none": Line(),
    "trap2": Line(method="trap2", parameters={**PAID, "strength": 0.15}),
    "arf": Line(method="arf", parameters={"margin": 0.5, "budget": 20.0, "check_every": STEPS, "strength": 3.0}),
    "arf + lock": Line(like="arf", lock=True),
    "arf + lock, aga": Line(like="arf", lock=True, attack="aga"),
    "arf + lock, gaugefix": Line(like="arf", lock=True, attack="gaugefix"),
    "layered": Line(method="layered", parameters={**PAID, "strength": 0.15}),
    "mergeguard, beta 1": Line(method="mergeguard", parameters={**PAID, "beta": 1.0}),
    "mergeguard, beta 2": Line(method="mergeguard", parameters={**PAID, "beta": 2.0}),
}
COEFFICIENTS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def state_of(world: World, task: str, strength: float) -> tuple[ProtectiveState, Any]:
    """Return the start of a training, and the encoder that it runs."""
    asked = world.tasks[task]
    with open_checkpoint(world.base) as base, open_checkpoint(world.experts[task]) as expert:
        encoder, circuits = load_encoder(base), describe(base).circuits
        tensors = {name: base.read(name) for name in base.tensors}
        tau = {name: expert.read(name) - value for name, value in tensors.items()}
    parts = {"task": (asked.train.images, asked.train.labels), "validation": (asked.dev.images, asked.dev.labels)}
    parameters = {name: one for name, one in encoder.get_submodule("body").named_parameters() if name in tau}
    learner = PictureLearner(encoder, parameters, parts, head=asked.head, scale=asked.scale)
    vector = FullVector({name: value for name, value in tau.items() if name in parameters})
    state = ProtectiveState(learner, vector, strength=strength)
    state.far = symmetry.distances_from(circuits, tensors)
    return state, encoder


def trained(world: World, task: str, line: Line, seed: int, out: Path) -> dict[str, Any]:
    """Train, and write the protected expert."""
    method = TRAINED[line.method](steps=STEPS, **line.parameters)
    state, encoder = state_of(world, task, method.strength)
    started = time.process_time()
    method.begin(state, torch.Generator().manual_seed(seed))
    plain = FullRecipe(steps=STEPS, learning_rate=method.learning_rate, weight_decay=0.0, warmup_steps=10,
                       batch_size=BATCH, seed=seed)  # fmt: skip
    budget = OwnersBudget(share=method.budget / 100, every=method.check_every, ceiling=method.strength_ceiling)
    outcome = train_protective(state, method.objective, ProtectiveRecipe(optimiser=plain, budget=budget))
    edited = method.finish(state, outcome.plain.loss + budget.share)
    reached = min(float(value.detach()) for value in state.distances().values())
    with torch.no_grad():
        for name, value in (state.task_vector() if edited is None else edited.tau).items():
            state.learner.parameters[name].copy_(state.base[name] + value)
    with open_checkpoint(world.experts[task]) as expert:
        save_encoder(encoder, expert, out, {"verb": "bench"})
    return {"seconds": time.process_time() - started, "met": outcome.met, "strength": outcome.strength,
            "edited": edited is not None, "reached": reached}  # fmt: skip


def measured(world: World, task: str, name: str, seed: int, work: Path) -> dict[str, Any]:
    """Protect, attack, merge, score."""
    line, about = LINES[name], {}
    model = world.experts[task]
    trains = LINES[line.like] if line.like else line
    if trains.method:
        about = trained(world, task, trains, seed, work / "trained")
        model = work / "trained"
    if line.lock:
        mb.protect(model, work / "locked", method=protection_named("exact", {}), key=Key(bytes([seed + 1]) * 32))
        model = work / "locked"
    if line.attack:
        mb.realign(model, work / "attacked", base=world.base, method=REALIGNMENTS[line.attack])
        model = work / "attacked"
    with open_checkpoint(model) as opened:
        alone = world.correct(task, load_encoder(opened))
    merged = {
        f"{one:g}": world.merged(model, task, make("task_arithmetic", coefficient=one))["correct"]
        for one in COEFFICIENTS
    }
    return {"alone": alone, "merged": merged, "training": about}


def show(kept: Rows) -> None:
    """Print the table: means over tasks and seeds."""
    lines: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for key, figures in kept.rows.items():
        name, task, _ = json.loads(key)
        lines.setdefault(name, []).append((task, figures))
    plain = dict(lines.get("none", []))
    print(
        "Accuracy on the protected task in per cent, four tasks in turn; in brackets the share of the plain expert's.\n"
    )
    print("| protection | cells | alone | merged at .3 | merged, best coefficient | median share, best | reached |")
    print("|---|---|---|---|---|---|---|")
    for name, cells in lines.items():
        cells = [(task, one) for task, one in cells if task in plain]
        columns = []
        for of in (lambda one: one["alone"], lambda one: one["merged"]["0.3"], lambda one: max(one["merged"].values())):
            shares = [of(one) / of(plain[task]) for task, one in cells]
            found = spread_of([[of(one) / 2] for _, one in cells])
            columns.append(f"{found.mean:.1f} ± {found.error:.1f} ({sum(shares) / len(shares):.2f})")
        middle = sorted(shares)[len(shares) // 2]
        reached = [one["training"]["reached"] for _, one in cells if one["training"]]
        shown = f"{min(reached):.2f}" if reached else ""
        print(f"| {name} | {len(cells)} | {' | '.join(columns)} | {middle:.2f} | {shown} |")


def fill(kept: Rows, seeds: Sequence[int], only: str) -> None:
    """Measure every cell that is not there yet."""
    world = World("small")
    for seed in seeds:
        for name in LINES:
            for task in world.tasks:
                if only in ("", name) and not kept.has([name, task, seed]) and (seed == seeds[0] or name != "none"):
                    say(f"{name}, {task}, seed {seed}")
                    with tempfile.TemporaryDirectory() as work:
                        at = (world, task, name, seed, Path(work))
                        kept.get([name, task, seed], lambda at=at: measured(*at))


def main() -> None:
    """Fill what is asked for, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="the line of that name")
    parser.add_argument("--print", action="store_true", help="measure nothing")
    given = parser.parse_args()
    kept = Rows(KEPT)
    if not given.print:
        fill(kept, given.seeds, given.only)
    show(kept)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
