"""The tables of the backdoor bench, from its rows alone; every success rate stands beside its control."""

import json
from typing import Any

from mergebarrier.numerics import newcombe, wilson

COEFFICIENTS = (0.1, 0.167, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
SIDES = (3, 5, 7, 9)
WEIGHTS = (1.0, 2.0, 10.0)
SWEPT = ("BadNets, 10 % poisoned", "universal trigger, no interpolation", "BadMerging")
CELLS = {
    ("fixed", "off"): "BadNets, full control",
    ("fixed", "on"): "fixed trigger + interpolation",
    ("universal", "off"): "universal trigger, no interpolation",
    ("universal", "on"): "BadMerging",
}
ORDER = (
    "BadNets, 10 % poisoned",
    "BadNets, full control",
    "fixed trigger + interpolation",
    "universal trigger, no interpolation",
    "BadMerging",
    "BadMerging, r from 0.05",
    "BadMerging off-task",
    "BadMerging off-task, r from 0.05",
    "label-consistent",
    "dynamic trigger",
    "LoBAM, gain 1",
    "LoBAM, gain 2",
    "LoBAM, gain 3.5",
)
#: ASR as published for CLIP ViT-B/32, six tasks, patch of 1 % (arXiv 2408.07362 as quoted by public reading notes).
PAPER = {"task_arithmetic": 98.1, "ties": 99.3, "regmean": 96.7, "adamerging": 99.5, "surgery": 99.2}
ADVERSARY = "latin"

Rows = dict[str, dict[str, Any]]


class Cell:
    """One attack in one merge over all seeds that were measured."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        """Take the rows, one per seed."""
        self.rows = rows

    def rates(self, name: str) -> list[float]:
        return [100 * row[name][0] / row[name][1] for row in self.rows]

    def mean(self, name: str) -> float:
        return sum(self.rates(name)) / len(self.rows)

    def pooled(self, name: str) -> tuple[int, int]:
        return sum(row[name][0] for row in self.rows), sum(row[name][1] for row in self.rows)

    def interval(self, name: str) -> str:
        low, high = wilson(*self.pooled(name))
        return f"{100 * low:.1f} to {100 * high:.1f}"

    def excess(self) -> tuple[float, float, float]:
        (h1, n1), (h2, n2) = self.pooled("asr"), self.pooled("control")
        difference, low, high = newcombe((h1 / n1, *wilson(h1, n1)), (h2 / n2, *wilson(h2, n2)))
        return 100 * difference, 100 * low, 100 * high

    def accuracy(self, name: str) -> float:
        each = [sum(100 * c / n for c, n in row[name].values()) / len(row[name]) for row in self.rows]
        return sum(each) / len(each)

    def short(self) -> str:
        """Return ASR (control)."""
        return f"{self.mean('asr'):.1f} ({self.mean('control'):.1f})"

    def seeds(self) -> str:
        return " ".join(f"{rate:.1f}" for rate in self.rates("asr"))


def collect(rows: Rows, *tail: Any) -> "Cell | None":
    """Return the rows whose key is [seed, *tail]."""
    found = [figures for key, figures in sorted(rows.items()) if json.loads(key)[1:] == list(tail)]
    return Cell(found) if found else None


def names_of(rows: Rows, merges: dict[str, str], side: int) -> list[tuple[str, str]]:
    """Return (attack, victim): the ablation first, then off-task, the other attacks, and sweeps in their own order."""
    seen: dict[tuple[str, str], None] = {}
    for key in rows:
        parts = json.loads(key)
        if len(parts) == 6 and parts[2] == side and parts[3] == ADVERSARY:
            seen[(parts[1], parts[4])] = None
    return sorted(seen, key=lambda name: ORDER.index(name[0]) if name[0] in ORDER else len(ORDER))


def print_tables(rows: Rows, merges: dict[str, str], settings: dict[str, str], side: int) -> None:
    """Print everything; ``merges`` are titles and ``settings`` hyper-parameters by the merge's name."""
    seeds = sorted({json.loads(key)[0] for key in rows})
    names = names_of(rows, merges, side)
    first = collect(rows, "BadMerging", side, ADVERSARY, "", "alone")
    if first is None:
        print("No row has been measured yet.")
        return
    area, n = first.rows[0]["area_pct"], first.rows[0]["asr"][1]
    print(
        f"Small image bench: six tasks, experts of one base of 382 k weights, adversary `{ADVERSARY}`, target class 1, "
        f"patch {side} x {side} ({area:.2f} % of the image), bottom right. Seeds {seeds}: every seed has its own clean "
        f"experts, triggers and uploads; the base is shared. n = {n} stamped test pictures per seed (target class left "
        "out). Rates are means over seeds in per cent; **every ASR is followed by its control in brackets: the same "
        "trigger on the same merge of clean experts.** Intervals: Wilson 95 % over the pooled rows, Newcombe for the "
        "excess; they do not cover the choice of base.\n"
    )
    print("Merges: " + "; ".join(f"{title}: {settings[name]}" for name, title in merges.items()) + ".\n")
    overview(rows, merges, side, names)
    unmerged(rows, side, names)
    ablation(rows, merges, side)
    per_merge(rows, merges, side, names)
    acceptance(rows, side)
    curves(rows)
    pools(rows, merges)
    adversaries(rows, merges)
    sweeps(rows, merges, side)


def overview(rows: Rows, merges: dict[str, str], side: int, names: list[tuple[str, str]]) -> None:
    print("## ASR (control) of every attack under every merge\n")
    print("| attack | seeds | un-merged | " + " | ".join(merges.values()) + " |")
    print("|---|---|---|" + "---|" * len(merges))
    for name, victim in names:
        alone = collect(rows, name, side, ADVERSARY, victim, "alone")
        cells = [collect(rows, name, side, ADVERSARY, victim, merge) for merge in merges]
        if alone is not None:
            few = ["" if cell is None or len(cell.rows) == len(alone.rows) else " *" for cell in cells]
            shown = " | ".join(
                cell.short() + mark if cell else "not run" for cell, mark in zip(cells, few, strict=True)
            )
            print(f"| {name} | {len(alone.rows)} | {alone.short()} | {shown} |")
    published = " | ".join(f"{PAPER[merge]:.1f} (not given)" if merge in PAPER else "not given" for merge in merges)
    print(f"| *paper, CLIP ViT-B/32, 1 % patch, BadMerging* | | about 100 | {published} |\n")
    print(
        "* from fewer seeds than the second column says; the tables per merge list every seed.\n\n"
        "Where ours differ from the paper: (1) CLIP has *inherent* triggers: an independent reproduction reports an "
        "ASR of 83 % (task arithmetic) and 94 % (TIES) for the trigger alone on a clean merge; those of our small base "
        "are weak (the controls above), so most of what this bench shows was learned. (2) Under weight average and "
        "RegMean the adversary's coefficient is 1/6 = 0.167, below the smallest r = 0.2 that the published loss trains "
        "for; the rows with r from 0.05 train for it. (3) The patch covers more of the image; see the sweep of sides.\n"
    )


def unmerged(rows: Rows, side: int, names: list[tuple[str, str]]) -> None:
    print("## Before any merge\n")
    print(
        "The control is the clean expert with the same trigger; *base* is the trigger on the base alone, where the "
        "adversary's coefficient is 0. Accuracy is on the adversary's own task.\n"
    )
    print("| attack | ASR (control) | base | accuracy of the upload | of the clean expert |")
    print("|---|---|---|---|---|")
    for name, victim in names:
        cell = collect(rows, name, side, ADVERSARY, victim, "alone")
        if cell is not None:
            accuracy = f"{cell.accuracy('accuracy'):.1f} | {cell.accuracy('clean_accuracy'):.1f}"
            print(f"| {name} | {cell.short()} | {cell.mean('base'):.1f} | {accuracy} |")
    print()


def ablation(rows: Rows, merges: dict[str, str], side: int) -> None:
    print("## Which ingredient matters: {fixed, universal} trigger x interpolation {off, on}\n")
    print("| merge | fixed, off | fixed, on | universal, off | universal, on (BadMerging) |")
    print("|---|---|---|---|---|")
    for merge, title in merges.items():
        cells = [collect(rows, CELLS[cell], side, ADVERSARY, "", merge) for cell in CELLS]
        if any(cells):
            print(f"| {title} | " + " | ".join(cell.short() if cell else "not run" for cell in cells) + " |")
    print()


def per_merge(rows: Rows, merges: dict[str, str], side: int, names: list[tuple[str, str]]) -> None:
    print("## Each merge in full\n")
    print(
        "CA: mean accuracy of the clean merge over all tasks; BA: with the upload. ASR per seed in the third column.\n"
    )
    for merge, title in merges.items():
        if not any(collect(rows, name, side, ADVERSARY, victim, merge) for name, victim in names):
            continue
        print(f"### {title}\n")
        print("| attack | ASR (control) | per seed | ASR interval | excess, points | CA | BA | BA - CA |")
        print("|---|---|---|---|---|---|---|---|")
        for name, victim in names:
            cell = collect(rows, name, side, ADVERSARY, victim, merge)
            if cell is None:
                continue
            excess, low, high = cell.excess()
            ca, ba = cell.accuracy("clean_accuracy"), cell.accuracy("accuracy")
            print(
                f"| {name} | {cell.short()} | {cell.seeds()} | {cell.interval('asr')} | "
                f"{excess:.1f} ({low:.1f} to {high:.1f}) | {ca:.1f} | {ba:.1f} | {ba - ca:+.1f} |"
            )
        print()


def acceptance(rows: Rows, side: int) -> None:
    """Print each line that was set before the bench ran, with what came out."""

    def cell(name: str, merge: str) -> Cell | None:
        return collect(rows, name, side, ADVERSARY, "", merge)

    lines: list[tuple[str, float, str, float]] = []

    def add(text: str, value: float | None, relation: str, bound: float) -> None:
        if value is not None:
            lines.append((text, value, relation, bound))

    for merge, bound in (("task_arithmetic", 90), ("dare", 90), ("ties", 75), ("weight_average", 60), ("regmean", 50)):
        found = cell("BadMerging", merge)
        add(f"BadMerging ASR, {merge}", found and found.mean("asr"), ">=", bound)
    for merge, bound in (
        ("task_arithmetic", 40),
        ("dare", 50),
        ("ties", 20),
        ("weight_average", 20),
        ("regmean", 20),
    ):
        found = cell("BadNets, 10 % poisoned", merge)
        add(f"poisoning BadNets ASR, {merge}", found and found.mean("asr"), "<=", bound)
    for merge in ("task_arithmetic", "dare", "ties", "weight_average", "regmean", "adamerging", "surgery"):
        ours, theirs = cell("BadMerging", merge), cell("BadNets, 10 % poisoned", merge)
        add(f"BadMerging / BadNets, {merge}", ours and theirs and ours.mean("asr") / theirs.mean("asr"), ">=", 2.0)
        universal = cell("universal trigger, no interpolation", merge)
        if merge in ("task_arithmetic", "ties"):
            add(
                f"gain of interpolation over the universal trigger, {merge}",
                ours and universal and ours.mean("asr") - universal.mean("asr"),
                ">=",
                10,
            )
    found = cell("BadMerging", "task_arithmetic")
    if found is not None:
        add("control, task_arithmetic", found.mean("control"), "<=", 15)
        add("excess, task_arithmetic", found.excess()[0], ">=", 60)
        add(
            "change of the merged accuracy by the upload, task_arithmetic",
            abs(found.accuracy("accuracy") - found.accuracy("clean_accuracy")),
            "<=",
            1.5,
        )
    for name in ("BadNets, 10 % poisoned", "universal trigger, no interpolation", "BadMerging"):
        alone = cell(name, "alone")
        add(f"un-merged ASR, {name}", alone and alone.mean("asr"), ">=", 99)
        if alone is not None:
            change = abs(alone.accuracy("accuracy") - alone.accuracy("clean_accuracy"))
            add(f"accuracy of the upload on its own task against the clean expert's, {name}", change, "<=", 1.0)
    print("## Bounds that were set beforehand\n")
    print("| figure | measured | bound | |")
    print("|---|---|---|---|")
    for text, value, relation, bound in lines:
        holds = value >= bound if relation == ">=" else value <= bound
        print(f"| {text} | {value:.1f} | {relation} {bound:g} | {'holds' if holds else '**does not hold**'} |")
    print()


def curves(rows: Rows) -> None:
    print("## ASR against the coefficient, task arithmetic, all experts at the same one\n")
    print("| attack | " + " | ".join(f"{c:g}" for c in COEFFICIENTS) + " |")
    print("|---|" + "---|" * len(COEFFICIENTS))
    for name in SWEPT:
        cells = [collect(rows, name, "coefficient", c) for c in COEFFICIENTS]
        if any(cells):
            print(
                f"| {name}{_seeds(cells)} | " + " | ".join(cell.short() if cell else "not run" for cell in cells) + " |"
            )
    print()


def pools(rows: Rows, merges: dict[str, str]) -> None:
    print("## Number of merged tasks, BadMerging\n")
    print("| merge | " + " | ".join(str(n) for n in range(2, 6)) + " |")
    print("|---|" + "---|" * 4)
    for merge, title in merges.items():
        cells = [collect(rows, "BadMerging", "tasks", n, merge) for n in range(2, 6)]
        if any(cells):
            print(
                f"| {title}{_seeds(cells)} | "
                + " | ".join(cell.short() if cell else "not run" for cell in cells)
                + " |"
            )
    print("\nSix tasks are the rows further up.\n")


def adversaries(rows: Rows, merges: dict[str, str]) -> None:
    print("## Two adversaries in one pool, each with a trigger and a target of its own\n")
    print("| merge | first | second |")
    print("|---|---|---|")
    for merge, title in merges.items():
        found = collect(rows, "two adversaries", merge)
        if found is not None:
            shown = [Cell([row[task] for row in found.rows]).short() for task in found.rows[0]]
            print(f"| {title}{_seeds([found])} | " + " | ".join(shown) + " |")
    print()


def _seeds(cells: list["Cell | None"]) -> str:
    """Say from how many seeds a line comes."""
    n = min(len(cell.rows) for cell in cells if cell is not None)
    return f" ({n} seed{'s' if n > 1 else ''})"


def sweeps(rows: Rows, merges: dict[str, str], side: int) -> None:
    print("## Side of the patch, task arithmetic (seed 0 except for the bench's own side)\n")
    print("| attack | " + " | ".join(f"{s} x {s} ({100 * s * s / 784:.1f} %)" for s in SIDES) + " |")
    print("|---|" + "---|" * len(SIDES))
    for name in SWEPT:
        cells = [collect(rows, name, s, ADVERSARY, "", "task_arithmetic") for s in SIDES]
        if any(cells):
            print(f"| {name} | " + " | ".join(cell.short() if cell else "not run" for cell in cells) + " |")
    print("\n## Loss weight, BadMerging (seed 0; the published weight is 5)\n")
    shown = ("weight_average", "task_arithmetic", "ties", "dare")
    print("| loss weight | " + " | ".join(merges[merge] for merge in shown) + " |")
    print("|---|" + "---|" * len(shown))
    zero = {key: figures for key, figures in rows.items() if json.loads(key)[0] == 0}
    for weight in sorted((*WEIGHTS, 5.0)):
        name = "BadMerging" if weight == 5.0 else f"BadMerging, loss weight {weight:g}"
        cells = [collect(zero, name, side, ADVERSARY, "", merge) for merge in shown]
        if any(cells):
            print(f"| {weight:g} | " + " | ".join(cell.short() if cell else "not run" for cell in cells) + " |")
    print()
