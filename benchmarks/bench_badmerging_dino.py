"""Backdoors under merging on a pre-trained transformer: the table of the small bench on the DINOv2-like one.

Experts train their last four blocks, so that everything before is shared with the base and computed once.  Finished
rows go to a file and are never measured again; the table holds whatever has been measured:

    python benchmarks/bench_badmerging_dino.py --seeds 1 --sides 8,6,10
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _badmerging_tables import PAPER
from _keep import Rows, Tensors

from mergebarrier.audit import backdoor_bench as bench
from mergebarrier.audit.backdoor_bench import Variant
from mergebarrier.audit.backdoor_merges import MERGES_UNDER_ATTACK
from mergebarrier.audit.backdoors import Patch
from mergebarrier.checkpoint import open_checkpoint, read_tensor_file
from mergebarrier.evaluate import ImageSplit, Tail, load_encoder, read_image_task, wilson
from mergebarrier.poison import UniversalRecipe
from mergebarrier.zoo import cache_folder, vision_bench

HERE = Path(__file__).parent
ADVERSARY, TARGET, TEST_ROWS, STAMPED_ROWS = "fashion", 1, 300, 16
MERGES = ("weight_average", "task_arithmetic", "ties", "regmean", "dare")
VARIANTS = (
    Variant("BadNets, 10 % poisoned", "badnets"),
    Variant("BadMerging", "badmerging", {"rows": STAMPED_ROWS}),
    Variant("universal trigger, no interpolation", "universal", {"rows": STAMPED_ROWS}),
)
#: One start and few steps: a step of this encoder costs a hundred of the small one's.
TRIGGER = UniversalRecipe(steps=60, batch_size=16, learning_rate=0.05, restarts=1)


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


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
        base, tasks, ADVERSARY, TARGET, Patch(8, recipe=TRIGGER), assets.recipe, seed, names, Tensors(work)
    )


def measure(seed: int, sides: Sequence[int], rows: Rows, work: Path) -> None:
    """Measure every row of a seed that is not there yet."""
    world = open_bench(seed, work)

    @functools.cache
    def control(merge: str) -> Any:
        return MERGES_UNDER_ATTACK[merge].run(world.pool({}))

    @functools.cache
    def clean_accuracy(merge: str) -> Any:
        return bench.accuracies(world, control(merge))

    def merged(variant: Variant, merge: str) -> dict[str, Any]:
        found = MERGES_UNDER_ATTACK[merge].run(world.pool({ADVERSARY: world.upload(variant)}))
        return {
            "asr": bench.success(world, found, variant),
            "control": bench.success(world, control(merge), variant),
            "accuracy": bench.accuracies(world, found),
            "clean_accuracy": clean_accuracy(merge),
        }

    for task in world.tasks:
        say(f"seed {seed}: expert of {task}")
        world.expert(task)
    rows.get([seed, "base"], lambda: {"accuracy": bench.accuracies(world, dict.fromkeys(world.tasks, world.base))})
    for side in sides:
        for variant in (replace(one, side=side) for one in VARIANTS):
            say(f"seed {seed}: {variant.name}, side {side}")
            key = [seed, variant.name, side]
            rows.get([*key, "alone"], functools.partial(bench.alone, world, variant))
            for merge in MERGES:
                rows.get([*key, merge], functools.partial(merged, variant, merge))


def share(counts: Sequence[int]) -> float:
    return 100 * counts[0] / counts[1]


def mean_accuracy(counts: dict[str, Sequence[int]]) -> float:
    return sum(map(share, counts.values())) / len(counts)


def pooled(cells: Sequence[dict[str, Any]], name: str) -> str:
    hits, n = (sum(cell[name][i] for cell in cells) for i in (0, 1))
    low, high = wilson(hits, n)
    return f"{100 * hits / n:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def print_tables(rows: Rows, sides: Sequence[int]) -> None:
    """Print what has been measured."""
    table: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for name, figures in rows.rows.items():
        key = json.loads(name)
        if len(key) == 4:
            table.setdefault((key[1], key[2], key[3]), []).append(figures)
    print(_HEAD)
    for side in sides:
        area = 100 * side * side / 56**2
        print(f"## Patch of {side} x {side} pixels, {area:.1f} % of the picture\n")
        print("| attack | merge | seeds | ASR % [95 %] | clean merge, same patch | excess | accuracy, clean merge |")
        print("|---|---|---|---|---|---|---|")
        for variant in VARIANTS:
            for merge in ("alone", *MERGES):
                cells = table.get((variant.name, side, merge))
                if cells:
                    excess = sum(share(c["asr"]) - share(c["control"]) for c in cells) / len(cells)
                    with_upload, without = (
                        sum(mean_accuracy(c[name]) for c in cells) / len(cells)
                        for name in ("accuracy", "clean_accuracy")
                    )
                    title = "not merged" if merge == "alone" else MERGES_UNDER_ATTACK[merge].title
                    print(
                        f"| {variant.name} | {title} | {len(cells)} | {pooled(cells, 'asr')} |"
                        f" {pooled(cells, 'control')} | {excess:+.1f} | {with_upload:.1f}, {without:.1f} |"
                    )
        print()
    published = ", ".join(f"{MERGES_UNDER_ATTACK[merge].title} {value}" for merge, value in PAPER.items())
    print(f"Published for CLIP ViT-B/32, six tasks, patch of 1 %, BadMerging (second-hand): {published}.\n")
    print(_READING)


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
  to 94 % (second-hand), so there most of an ASR is the trigger's; here the excess column is what training added.
- An attack that is missing under a merge was not measured; a table of one seed shows no spread between seeds.
"""


def main() -> None:
    """Measure what is missing and print the tables."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sides", default="8,6,10")
    parser.add_argument("--rows", type=Path, default=HERE / "results" / "badmerging_dino.jsonl")
    parser.add_argument("--work", type=Path, help="where experts are kept between runs")
    parser.add_argument("--tables", action="store_true", help="measure nothing, print the rows that are there")
    given = parser.parse_args()
    rows, work = Rows(given.rows), given.work or cache_folder() / "bench" / "badmerging-dino"
    sides = tuple(map(int, given.sides.split(",")))
    if not given.tables:
        for seed in range(given.seeds):
            measure(seed, sides, rows, work)
    print_tables(rows, sides)


if __name__ == "__main__":
    main()
