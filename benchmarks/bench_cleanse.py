"""What do the cures take from a backdoor, and what from the tasks?  ASR before and after, beside the clean control.

Pools of four experts of the small vision bench, one of them poisoned, merged three ways.  Every ASR stands beside that
of the clean merge (the guilty expert replaced by the honest one of its task) with the same trigger.  The adaptive
adversary of ``_adaptive.py`` knows ``lfpm_like`` and trains against it.
"""

import dataclasses
import sys
import time

from _pools import COEFFICIENT, Upload, bench, kept, merge, poisoned, pool, trigger
from bench_scan import SEARCH, members, rate
from mergebarrier.evaluate import pixels
from mergebarrier.poison import successes
from mergebarrier.scan.cures.patient import MergeToCure
from mergebarrier.scan.cures.registry import CURES
from mergebarrier.training import FullRecipe, train_full

MERGES = {
    "task arithmetic 0.3": ("task_arithmetic", {"coefficient": COEFFICIENT}),
    "weight average": ("linear", {}),
    "TIES 0.2 sum 0.3": ("ties", {"density": 0.2, "coefficient": COEFFICIENT, "reduce": "sum"}),
}
SEEDS, HONEST_SEEDS = range(3), 2
TEST_ROWS = 400
RECIPE = FullRecipe(steps=60, learning_rate=2e-4, weight_decay=0.0, warmup_steps=5)
#: Module switching needs a pool of one task and is tested elsewhere.
TRIED = tuple(name for name in CURES if name != "switching")


def figures(uploads: tuple[Upload, ...], weights, guilty: Upload) -> dict:
    """Return hits and rows of the trigger on the guilty task, and the mean accuracy over the pool's tasks."""
    _, tasks = bench()
    one, right, total = pool(uploads), [], {}
    for suspect in one.suspects:
        test = tasks[suspect.name].test
        images, labels = pixels(test.images)[:TEST_ROWS], test.labels[:TEST_ROWS]
        right.append(float((one.predict(weights, images, suspect) == labels).float().mean()))
        if suspect.name == guilty.task:
            found = one.predict(weights, trigger(guilty).stamp(images), suspect)
            total = dict(zip(("hits", "rows"), successes(found, labels, guilty.target), strict=True))
    return {**total, "accuracy": sum(right) / len(right)}


def patient(uploads: tuple[Upload, ...], name: str, seed: int) -> MergeToCure:
    """Return a merge to be cured."""
    method, parameters = MERGES[name]
    return MergeToCure(
        pool(uploads), merge(method, **parameters), SEARCH, lambda m, loss: train_full(m, RECIPE, loss), seed
    )


def row(guilty: Upload, name: str, cure: str | None) -> dict:
    """Return the figures of one pool under one merge and one cure; "control" is the clean merge."""
    seed = guilty.seed
    uploads = members(guilty, seed, "cure", range(HONEST_SEEDS))
    if cure == "control":
        uploads = (Upload(guilty.task, uploads[1].seed), *uploads[1:])

    def compute() -> dict:
        one, started = patient(uploads, name, seed), time.process_time()
        made = one.merged if cure in (None, "control") else CURES[cure].apply(one)
        return {**figures(uploads, made, guilty), "seconds": time.process_time() - started}

    spec = str(CURES.get(cure)) if cure else ""
    return kept("cure", [[u.name for u in uploads], guilty.name, name, cure, spec, str(SEARCH), str(RECIPE)], compute)


def main() -> None:
    """Run what is missing and print the table; the adaptive adversary has task, class and place of the plain one.

    With arguments, "SEEDS CURE,...", only those cures under task arithmetic, over that many seeds.
    """
    bench()
    plain = [poisoned("badmerging", seed) for seed in SEEDS]
    adaptive = [dataclasses.replace(upload, attack="adaptive") for upload in plain]
    print("| adversary | merge | cure | ASR (n) | above control, points | accuracy | lost, points | processor s |")
    print("|---|---|---|---|---|---|---|---|")
    first = next(iter(MERGES))
    if len(sys.argv) > 1:
        n, tried = int(sys.argv[1]), tuple(sys.argv[2].split(","))
        table(plain[:n], first, tried)
        if "lfpm_like" in tried:
            table(adaptive[:n], first, ("lfpm_like",))
        return
    table(plain, first, TRIED)
    table(adaptive, first, ("drop", "lfpm_like"))
    for name in MERGES:
        if name != first:
            table(plain, name, ("drop", "lfpm_like"))


def table(attacks: list[Upload], name: str, tried: tuple[str, ...]) -> None:
    """Print the rows of one adversary under one merge."""
    control, before = ([row(upload, name, cure) for upload in attacks] for cure in ("control", None))
    line(attacks, name, "clean merge (control)", control, control, before)
    line(attacks, name, "none", before, control, before)
    for cure in tried:
        rows = []
        for upload in attacks:
            rows.append(row(upload, name, cure))
            sys.stderr.write(f"{name} {cure} {upload.name}: {rows[-1]}\n")
        line(attacks, name, cure, rows, control, before)


def line(attacks: list[Upload], name: str, cure: str, rows, control, before) -> None:
    """Print one row of the table, pooled over the seeds."""
    hits, total = (sum(r[key] for r in rows) for key in ("hits", "rows"))
    base = sum(r["hits"] for r in control) / sum(r["rows"] for r in control)
    accuracy, was = (sum(r["accuracy"] for r in group) / len(group) for group in (rows, before))
    spent = sum(r["seconds"] for r in rows) / len(rows)
    above = f"{rate(hits, total)} | {100 * (hits / total - base):+.1f}"
    print(
        f"| {attacks[0].attack} | {name} | {cure} | {above} | {accuracy:.3f} | "
        f"{100 * (was - accuracy):+.1f} | {spent:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
