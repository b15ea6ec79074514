"""Protections on encoders of images: what a merge of four experts is worth on the task of the one that is protected.

Each of four experts is protected in turn, merged with the other three, and scored on its own task; attacks come between
protecting and merging.  This is the table of arXiv 2606.30360, with four tasks for eight and an encoder of 22 million
parameters, or one of 0.3 million, for ViT-B/32.  Finished cells are kept, so a run that was stopped goes on:

    python benchmarks/bench_vision_protections.py [small | dino] [--print]
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch

import _small_vit
import mergebarrier as mb
from _keep import Rows, asked, say
from _protection_tables import ATTACKS, SPECIFIC, Table, images
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MergebarrierError, MethodRefused
from mergebarrier.evaluate import ImageSplit, ModuleSink, accuracy, load_encoder, read_image_task
from mergebarrier.keys import Key
from mergebarrier.merge import Merge, make, plan
from mergebarrier.protect import protection_named
from mergebarrier.realign import REALIGNMENTS
from mergebarrier.run import transform
from mergebarrier.zoo import expert, vision_bench

KEPT = Path(__file__).parent / "results" / "vision_protections.jsonl"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row: a method with its parameters, and the attack that is made for it."""

    method: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    attack: tuple[str, ...] = ()


LINES: Mapping[str, Line] = {
    "none": Line(),
    "exact": Line(method="exact"),
    "mergebarrier, attention": Line(method="mergebarrier", attack=("flip_again",)),
    "mergebarrier, full": Line(
        method="mergebarrier", parameters={"ffn": "poly"}, attack=("poly_invert", "flip_again", "gaugefix")
    ),
    "params": Line(method="params"),
    "params, paper": Line(method="params", parameters={"preset": "paper"}),
    "mergelock": Line(method="mergelock"),
    "mergelock, paper": Line(method="mergelock", parameters={"preset": "paper"}),
    "params+mergelock": Line(method="params+mergelock"),
}
#: As in bench_vision; the average is the method that has no base.
MERGES: Mapping[str, Merge] = {
    "weight average": make("linear", weights=(0.25,) * 4),
    "task arithmetic, 0.3": make("task_arithmetic", coefficient=0.3),
    "TIES": make("ties", density=0.2, reduce="sum", coefficient=0.3),
    "DARE": make("dare_linear", density=0.1, coefficient=0.3),
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of the table a bench can afford: test pictures a task, keys, rows, merges and attacks."""

    pictures: int
    keys: int
    lines: Sequence[str] = tuple(LINES)
    merges: Sequence[str] = tuple(MERGES)
    attacks: Sequence[str] = (*ATTACKS[:3], SPECIFIC)


SIZES: Mapping[str, Size] = {
    "dino": Size(
        pictures=100,
        keys=1,
        lines=(
            "none",
            "exact",
            "mergebarrier, attention",
            "mergebarrier, full",
            "params, paper",
            "mergelock, paper",
            "params+mergelock",
        ),
        merges=("task arithmetic, 0.3",),
        attacks=("aga", "gaugefix", SPECIFIC),
    ),
    "small": Size(pictures=200, keys=3, merges=("task arithmetic, 0.3",)),
}


class World:
    """A bench: its base, experts and tasks, and an encoder that every merge is poured into."""

    def __init__(self, size: str) -> None:
        """Find or make the models."""
        self.size, known = size, vision_bench(size)
        if size == "small":
            folders = _small_vit.folders()
            self.base, self.experts = folders.pop(""), folders
        else:
            self.base, self.experts = known.base, {task: expert(size, task) for task in known.tasks}
        self.tasks = {task: read_image_task(known.tasks[task]) for task in self.experts}
        self.encoder = load_encoder(open_checkpoint(self.base))

    def correct(self, task: str, encoder: torch.nn.Module | None = None) -> int:
        """Count the test pictures of a task that an encoder names right."""
        asked, n = self.tasks[task], SIZES[self.size].pictures
        shown = ImageSplit(asked.test.images[:n], asked.test.labels[:n])
        return accuracy(encoder or self.encoder, asked.head, asked.scale, shown).correct

    def merged(self, model: Path, task: str, merge: Merge) -> dict[str, Any]:
        """Merge a model in the place of a task's expert with the others, and score it on that task."""
        with ExitStack() as stack:
            paths = [model if name == task else path for name, path in self.experts.items()]
            opened = [stack.enter_context(open_checkpoint(path)) for path in (self.base, *paths)]
            try:
                made = plan(merge, opened[0] if merge.uses_base else None, opened[1:])
                sink = ModuleSink(self.encoder.get_submodule("body"))
                transform(made.sources, sink, made.units, made.apply, workers=1)
            except MergebarrierError as refused:
                return {"refused": type(refused).__name__}
        return {"correct": self.correct(task), "n": SIZES[self.size].pictures}


class Row:
    """An expert protected under one key, and what attacks make of it."""

    def __init__(self, name: str, task: str, key: int, world: World, work: Path) -> None:
        """Make nothing yet."""
        self.line, self.task, self.key, self.world, self.work = LINES[name], task, key, world, work

    @cached_property
    def model(self) -> Path:
        """Return the protected expert."""
        source, out = self.world.experts[self.task], self.work / "protected"
        if not self.line.method:
            return source
        protection = protection_named(self.line.method, self.line.parameters)
        key = Key(bytes([self.key]) * 32) if protection.keyed else None
        images = vision_bench(self.world.size).tasks[self.task] if "ffn" in self.line.parameters else None
        mb.protect(source, out, method=protection, key=key, images=images)
        return out

    def alone(self) -> dict[str, Any]:
        """Score the expert as its owner uses it."""
        with open_checkpoint(self.model) as opened:
            correct = self.world.correct(self.task, load_encoder(opened))
        return {"correct": correct, "n": SIZES[self.world.size].pictures}

    def after(self, attacks: Sequence[str]) -> dict[str, Any]:
        """Attack, then merge in every way."""
        model, started = self.model, time.process_time()
        for number, name in enumerate(attacks):
            out = self.work / f"{'-'.join(attacks)}-{number}"
            try:
                mb.realign(model, out, base=self.world.base, method=REALIGNMENTS[name])
            except MergebarrierError as refused:
                return {"refused": type(refused).__name__}
            model = out
        seconds = time.process_time() - started
        found = {name: self.world.merged(model, self.task, MERGES[name]) for name in SIZES[self.world.size].merges}
        return {"seconds": seconds, "merges": found}


def states(size: str, name: str) -> dict[str, tuple[str, ...]]:
    """Return the attacks of a row by the name of their column."""
    all_of_them = {**{one: (one,) for one in ATTACKS}, **({SPECIFIC: LINES[name].attack} if LINES[name].attack else {})}
    return {"": (), **{one: attacks for one, attacks in all_of_them.items() if one in SIZES[size].attacks}}


def keyed(name: str) -> bool:
    """Whether a row draws anything."""
    line = LINES[name]
    return bool(line.method) and protection_named(line.method, line.parameters).keyed


def fill(size: str, kept: Rows) -> None:
    """Measure every cell that is not there yet."""
    world = World(size)
    for key, task, name in product(range(1, SIZES[size].keys + 1), world.tasks, SIZES[size].lines):
        if key > 1 and not keyed(name):
            continue
        with tempfile.TemporaryDirectory() as work:
            row = Row(name, task, key, world, Path(work))
            try:
                measure(row, size, name, kept)
            except MethodRefused as refused:
                say(f"{size}: {name}, {task}, key {key} is left out: {refused}")


def measure(row: Row, size: str, name: str, kept: Rows) -> None:
    """Measure the cells of a row that are not there yet."""
    at = [size, name, row.task, row.key]
    kept.get([*at, "alone"], row.alone)
    for state, attacks in states(size, name).items():
        if not kept.has([*at, state]):
            say(f"{size}: {name}, {row.task}, key {row.key}: {state or 'merged'}")
        kept.get([*at, state], lambda attacks=attacks: row.after(attacks))


def main() -> None:
    """Fill the tables that are asked for, and print what there is."""
    kept = Rows(KEPT)
    chosen = asked(SIZES)
    for size in chosen:
        if "--print" not in sys.argv:
            fill(size, kept)
    print("Accuracy in per cent on the protected expert's own task, the four experts in turn, with its 95 % interval,")
    print("for which pictures count once however many keys asked them.")
    table = Table("vision_protections")
    for size, merge in [(name, merge) for name, bench in SIZES.items() for merge in bench.merges]:
        print(f"\n## {size}: {merge}\n\n{images(table, size, merge, SIZES[size].lines)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
