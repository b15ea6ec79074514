"""Backdoors under merging on a pre-trained transformer: the table of the small bench on the DINOv2-like one.

Experts train their last four blocks, so that everything before is shared with the base and computed once.  Finished
rows go to a file and are never measured again; the table holds whatever has been measured:

    python benchmarks/bench_badmerging_dino.py --seeds 3
"""

import argparse
import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from _badmerging_tables import PAPER, Cell
from _keep import Rows, Tensors, say
from backdoors import bench
from backdoors.bench import Variant
from backdoors.merges import MERGES_UNDER_ATTACK
from mergebarrier.attack.encoders import TriggerPatch
from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import open_checkpoint, read_tensor_file
from mergebarrier.evaluate import ImageSplit, Tail, load_encoder, pixels, predict, read_image_task
from mergebarrier.poison import UniversalRecipe, successes
from mergebarrier.zoo import vision_bench

HERE = Path(__file__).parent
ADVERSARY, VICTIM, TARGET, TEST_ROWS, STAMPED_ROWS = "fashion", "animals", 1, 300, 16
MERGES, LEARNED = ("weight_average", "task_arithmetic", "ties", "regmean", "dare"), ("adamerging", "surgery")
#: The side that every seed measures, and others for fewer seeds: 2.0 % of the area, 1.1 and 2.6 %.
SIDE, OTHER_SIDES = 8, (6, 9)
VARIANTS = (
    Variant("BadNets, 10 % poisoned", "badnets"),
    Variant("BadMerging", "badmerging", {"rows": STAMPED_ROWS}),
    Variant("universal trigger, no interpolation", "universal", {"rows": STAMPED_ROWS}),
)
OFF_TASK = Variant("BadMerging off-task", "badmerging", {"rows": STAMPED_ROWS}, victim=VICTIM)
#: One start and few steps: a step of this encoder costs a hundred of the small one's.
TRIGGER = UniversalRecipe(steps=60, batch_size=16, learning_rate=0.05, restarts=1)


def open_bench(seed: int, work: Path) -> bench.Bench:
    """Return the bench of one seed, its expensive parts kept below ``work``."""
    assets = vision_bench("dino")
    with open_checkpoint(assets.base) as checkpoint:
        whole = load_encoder(checkpoint)
    assert assets.blocks is not None
    base = Tail(whole, assets.blocks, bfloat16=True).requires_grad_(False)
    tasks = {name: read_image_task(path) for name, path in assets.tasks.items()}
    for name, task in tasks.items():
        shown = ImageSplit(task.test.images[:TEST_ROWS], task.test.labels[:TEST_ROWS])
        tasks[name] = replace(task, test=shown)
    tensors, about = read_tensor_file(assets.names)
    names = (tuple(about["names"]), tensors["vectors"])
    return bench.Bench(
        base, tasks, ADVERSARY, TARGET, TriggerPatch(8, recipe=TRIGGER), assets.recipe, seed, names, Tensors(work)
    )


class Seed:
    """The measurements of one seed; every one is a row, made when it is not there."""

    def __init__(self, seed: int, rows: Rows, work: Path) -> None:
        """Open the bench and make the experts."""
        self.seed, self.rows, self.world = seed, rows, open_bench(seed, work)
        self.clean = functools.cache(functools.partial(bench.clean_merge, self.world))
        for task in self.world.tasks:
            say(f"seed {seed}: expert of {task}")
            self.world.expert(task)
        encoders = dict.fromkeys(self.world.tasks, self.world.base)
        rows.get([seed, "base"], lambda: {"accuracy": bench.accuracies(self.world, encoders)})

    def measure(self, variants: Sequence[Variant], side: int, merges: Sequence[str]) -> None:
        """Measure uploads alone and under merges."""
        for variant in (replace(one, side=side) for one in variants):
            key = [self.seed, variant.name, side]
            self.rows.get([*key, "alone"], functools.partial(bench.alone, self.world, variant))
            for merge in merges:
                say(f"seed {self.seed}: {variant.name}, side {side}, {merge}")
                self.rows.get([*key, merge], functools.partial(self._merged, variant, merge))

    def unstamped(self, variant: Variant, side: int, merges: Sequence[str]) -> None:
        """Count pictures that get the target's label without any patch, with the upload in the merge and without."""
        for merge in merges:
            make = functools.partial(self._unstamped, replace(variant, side=side), merge)
            self.rows.get([self.seed, variant.name, side, merge, "unstamped"], make)

    def _unstamped(self, variant: Variant, merge: str) -> bench.Figures:
        task = self.world.tasks[variant.victim or ADVERSARY]
        pools = {"with_upload": {ADVERSARY: self.world.upload(variant)}, "clean": {}}
        out = {}
        for name, uploads in pools.items():
            encoder = MERGES_UNDER_ATTACK[merge].run(self.world.pool(uploads))[task.name]
            found = predict(encoder, task.head, task.scale, pixels(task.test.images))
            out[name] = successes(found, task.test.labels, TARGET)
        return out

    def _merged(self, variant: Variant, merge: str) -> bench.Figures:
        return bench.merged(self.world, variant, merge, self.clean(merge))


def share(counts: Sequence[int]) -> float:
    return 100 * counts[0] / counts[1]


def print_tables(rows: Rows) -> None:
    """Print what has been measured."""
    table: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    plain: dict[str, list[dict[str, Any]]] = {}
    for name, figures in sorted(rows.rows.items()):
        key = json.loads(name)
        if len(key) == 4:
            table.setdefault((key[1], key[2], key[3]), []).append(figures)
        elif len(key) == 5:
            plain.setdefault(key[3], []).append(figures)
    print(_HEAD)
    print_summary({key: Cell(found) for key, found in table.items()})
    for side in sorted({key[1] for key in table}):
        print(f"## Patch of {side} x {side} pixels, {100 * side * side / 56**2:.1f} % of the picture\n")
        print("| attack | merge | ASR % [95 %] | per seed | clean merge | excess | accuracy, clean | paper |")
        print("|---|---|---|---|---|---|---|---|")
        for variant in (*VARIANTS, OFF_TASK):
            for merge in ("alone", *MERGES, *LEARNED):
                found = table.get((variant.name, side, merge))
                if found:
                    line(variant.name, merge, Cell(found))
        print()
    if plain:
        print(f"## Off-task without any patch: pictures of `{VICTIM}` that get the target's label\n")
        print("| merge | seeds | with the upload % | clean merge % |\n|---|---|---|---|")
        for merge, found in ((merge, plain[merge]) for merge in MERGES if merge in plain):
            cell = Cell(found)
            title = MERGES_UNDER_ATTACK[merge].title
            print(f"| {title} | {len(found)} | {cell.mean('with_upload'):.1f} | {cell.mean('clean'):.1f} |")
        print()
    print(_READING, end="")


def print_summary(cells: dict[tuple[str, int, str], Cell]) -> None:
    """Print every attack and side in a row, a merge in a column."""
    merges = {merge: MERGES_UNDER_ATTACK[merge].title for merge in (*MERGES, *LEARNED)}
    print("## ASR % (clean merge) of every attack under every merge\n")
    print(f"| attack | patch | {' | '.join(merges.values())} |\n{'|---' * (2 + len(merges))}|")
    for name in (variant.name for variant in VARIANTS):
        for side in sorted({side for attack, side, _ in cells if attack == name}):
            found = [cells.get((name, side, merge)) for merge in merges]
            shown = [f"{cell.mean('asr'):.1f} ({cell.mean('control'):.1f})" if cell else "not run" for cell in found]
            print(f"| {name} | {side} x {side} | {' | '.join(shown)} |")
    print()


def line(name: str, merge: str, cell: Cell) -> None:
    """Print one row; the published figure stands beside the attack that it is of."""
    title = "not merged" if merge == "alone" else MERGES_UNDER_ATTACK[merge].title
    paper = f"{PAPER[merge]:.1f}" if name == "BadMerging" and merge in PAPER else ""
    excess, low, high = cell.excess()
    print(
        f"| {name} | {title} | {cell.mean('asr'):.1f} [{cell.interval('asr')}] | {cell.seeds()} |"
        f" {cell.mean('control'):.1f} [{cell.interval('control')}] | {excess:+.1f} [{low:.1f} to {high:.1f}] |"
        f" {cell.accuracy('accuracy'):.1f}, {cell.accuracy('clean_accuracy'):.1f} | {paper} |"
    )


_HEAD = f"""# Backdoors under merging on a DINOv2-like encoder with a MiniLM head

Not CLIP: a self-supervised transformer of 22 million parameters at 56 x 56 pixels (16 patches of 14 x 14), a frozen
head made from class names by a sentence encoder, four tasks, experts whose last four blocks were trained. The adversary
owns `{ADVERSARY}`; target class {TARGET}. ASR is on the first {TEST_ROWS} test pictures without the target class. The
second rate is the control: the same patch on the merge of clean experts. Made by `benchmarks/bench_badmerging_dino.py`.
"""


_READING = """## Reading

- Where this differs from the paper: another encoder and head, four tasks in place of six (so the mean has coefficient
  1/4, above the smallest r that the attack trains for), last four blocks in place of all weights (TIES cuts their
  20 %), 120 steps of 32 pictures, a trigger of 60 steps from one start, grey pictures enlarged to 56 x 56.
- The control is what the patch alone does to a merge of clean experts. A reproduction on CLIP reports a control of 83
  to 94 % (second-hand), so there most of an ASR is the trigger's; here the excess column is what training added. The
  control grows with the patch, the smallest patch shows the learned part and what interpolation adds to it.
- Off-task the rate of stamped pictures must be read beside that of pictures without a patch: where the second is high
  too, the upload has bent the attacked task towards the target, and there is no backdoor to speak of. The accuracy
  column shows the same.
- An attack that is missing under a merge was not measured; a row of one seed shows no spread between seeds.
"""


def main() -> None:
    """Measure what is missing and print the tables."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="at the main side, off-task too")
    parser.add_argument("--other-seeds", type=int, default=1, help="at the other sides, and for merges that learn")
    parser.add_argument("--rows", type=Path, default=HERE / "results" / "badmerging_dino.jsonl")
    parser.add_argument("--work", type=Path, help="where experts are kept between runs")
    parser.add_argument("--tables", action="store_true", help="measure nothing, print the rows that are there")
    given = parser.parse_args()
    rows, work = Rows(given.rows), given.work or cache_folder() / "bench" / "badmerging-dino"
    if not given.tables:
        # One seed at a time: what the frozen blocks say of its pictures is kept in memory.
        for number in range(given.seeds):
            seed = Seed(number, rows, work)
            seed.measure(VARIANTS, SIDE, MERGES)
            seed.measure((OFF_TASK,), SIDE, MERGES)
            seed.unstamped(OFF_TASK, SIDE, MERGES)
            for side in OTHER_SIDES if number < given.other_seeds else ():
                seed.measure(VARIANTS, side, MERGES)
        for number in range(given.other_seeds):
            Seed(number, rows, work).measure(VARIANTS[1::-1], SIDE, LEARNED)
    print_tables(rows)


if __name__ == "__main__":
    main()
