"""The tables of both benches of protections from their rows alone, and what others published beside them.

A row of the language bench has the key [protection, number of the owner's key, column], one of the image bench [size,
protection, task, number of the key, attacks]; tables say of how many keys they are.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mergebarrier.numerics import wilson

RESULTS = Path(__file__).parent / "results"
MERGES = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "slerp")
AT_ONE, SPECIFIC = "coefficient 1", "its own attack"
ATTACKS = ("aga", "aga-matched", "gaugefix", "rebasin")
Figures = dict[str, Any]


class Published(NamedTuple):
    """Accuracy on the protected task in per cent, and why ours differs; the source is arXiv 2606.30360, its table.

    ``row`` is that of the language bench, ``picture`` that of the image bench.
    """

    row: str
    picture: str
    where: str
    figures: tuple[str, str, str]
    why: str


_FIXED = "one coefficient there; ours is searched on text, and at 1 the protected skill stays; on images chance is 10 %"
PUBLISHED = (
    Published("params", "params, paper", "ViT-B/32, eight tasks", ("67.23", "5.49", "66.39"), _FIXED),
    Published(
        "params", "", "GPT-2, task arithmetic", ("68.79", "51.44", "67.22"),
        "presumably classes, where a guess is worth much; here an answer is exact or wrong",
    ),
    Published(
        "params", "", "Qwen2-7B, task arithmetic", ("49.10", "3.07", "47.79"),
        "theirs drops part of the task vector first, which changes the model; ours does not",
    ),
    Published("mergelock", "mergelock, paper", "ViT-B/32, eight tasks", ("67.23", "5.10", "66.39"), _FIXED),
    Published("params+mergelock", "params+mergelock", "ViT-B/32, eight tasks", ("67.23", "-", "66.39"), _FIXED),
    Published(
        "mergebarrier, attention", "mergebarrier, attention", "ViT-B/32, both halves", ("67.23", "29.32", "60.80"),
        "attention alone here: no network of the base takes the place of a polynomial, so nothing is lost",
    ),
    Published(
        "mergebarrier, full", "", "ViT-B/32, both halves", ("67.23", "29.32", "60.80"),
        "our polynomials have tensors of their own, so no tool merges them; they are inverted, not replaced",
    ),
)  # fmt: skip


class Table:
    """Kept rows by their keys."""

    def __init__(self, name: str) -> None:
        """Read what is there; a line that is being written is left out."""
        path = RESULTS / f"{name}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        self.rows: Mapping[tuple[Any, ...], Figures] = {tuple(row["key"]): row["figures"] for row in rows}

    def over_keys(self, name: str, column: str) -> list[Figures]:
        """Return a cell of the language bench under every key that is there."""
        return [figures for key, figures in sorted(self.rows.items()) if key[0] == name and key[2] == column]

    def keys_of(self, size: str, name: str) -> int:
        """Return under how many keys a row of the image bench was measured."""
        return len({key[3] for key in self.rows if (key[0], key[1]) == (size, name)})

    def over_tasks(self, size: str, name: str, state: str) -> list[Figures]:
        """Return a cell of the image bench for every task and key that is there."""
        return [figures for key, figures in self.rows.items() if (key[0], key[1], key[4]) == (size, name, state)]


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def skills(found: Sequence[Figures]) -> str:
    """Return the mean skills over keys, protected / partner; or the refusal; or a dash."""
    if not found:
        return "-"
    if "refused" in found[0]:
        return f"refused: {found[0]['refused']}"
    return " / ".join(f"{sum(one[side] for one in found) / len(found):.2f}" for side in ("protected", "partner"))


def language(table: Table, names: Sequence[str], columns: Sequence[str]) -> str:
    """Return rows of the language bench: what the owner has, and the columns that are asked for."""
    rows = []
    for name in names:
        alone = table.over_keys(name, "alone")
        mean = {figure: sum(one[figure] for one in alone) / len(alone) for one in alone[:1] for figure in one}
        own = [f"{mean[figure]:.2f}" if alone else "-" for figure in ("skill", "perplexity")]
        cells = [skills(table.over_keys(name, column)) for column in columns]
        rows.append([_plain(name), str(len(alone)), *own, *cells])
    heads = [
        "keys",
        "alone",
        "perplexity",
        *(f"after {one}" if one in (*ATTACKS, SPECIFIC) else one for one in columns),
    ]
    return markdown(["", *(head.replace("task_arithmetic", "task arithmetic") for head in heads)], rows)


def costs(table: Table, names: Sequence[str]) -> str:
    """Return seconds of ``protect`` and of attacks, and sizes."""
    rows = []
    for name in names:
        alone = table.over_keys(name, "alone")
        size = f"{alone[0]['MiB']:.0f}" if alone else "-"
        times = [alone, *(table.over_keys(name, attack) for attack in (*ATTACKS, SPECIFIC))]
        rows.append([_plain(name), size, *(_seconds(found) for found in times)])
    return markdown(["", "MiB", "protect, s", *(f"{attack}, s" for attack in (*ATTACKS, SPECIFIC))], rows)


def _seconds(found: Sequence[Figures]) -> str:
    taken = [one["seconds"] for one in found if "seconds" in one]
    return f"{sum(taken) / len(taken):.1f}" if taken else "-"


def _plain(name: str) -> str:
    return "unprotected" if name == "none" else f"`{name.partition(',')[0]}`{''.join(name.partition(',')[1:])}"


def pooled(found: Sequence[Figures], merge: str = "", keys: int = 1) -> str:
    """Return the rate of several cells together with its 95 % interval, in per cent; or the refusal; or a dash.

    All keys are asked the same pictures, so they add none to what the interval rests on.
    """
    cells = [one["merges"][merge] if "merges" in one else one for one in found]
    refused = sorted({one["refused"] for one in cells if "refused" in one})
    if refused or not cells:
        return f"refused: {', '.join(refused)}" if refused else "-"
    correct, total = sum(one["correct"] for one in cells), sum(one["n"] for one in cells)
    low, high = wilson(round(correct / keys), total // keys)
    return f"{100 * correct / total:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


def images(table: Table, size: str, merge: str, names: Sequence[str]) -> str:
    """Return rows of the image bench for one merge."""
    states = [state for state in ("", *ATTACKS, SPECIFIC) if any(table.over_tasks(size, name, state) for name in names)]
    rows = [
        [
            _plain(name),
            str(len(table.over_tasks(size, name, "alone"))),
            pooled(table.over_tasks(size, name, "alone"), keys=table.keys_of(size, name)),
            *(pooled(table.over_tasks(size, name, state), merge, table.keys_of(size, name)) for state in states),
        ]
        for name in names
    ]
    return markdown(["", "cells", "alone", "merged", *(f"after {state}" for state in states[1:])], rows)


def published(language_rows: Table, image_rows: Table, size: str, merge: str) -> str:
    """Return what others report beside what is measured here: unprotected, protected, after the attack."""
    rows = []
    for one in PUBLISHED:
        best = (("none", "task_arithmetic"), (one.row, "task_arithmetic"), (one.row, _attack(one.row)))
        text = ", ".join(skills(language_rows.over_keys(*cell)) for cell in best)
        shown = (("none", ""), (one.picture, ""), (one.picture, "aga"))
        cells = [pooled(image_rows.over_tasks(size, *cell), merge).partition(" [")[0] for cell in shown]
        picture = ", ".join(cells) if one.picture else ""
        rows.append([_plain(one.row), one.where, ", ".join(one.figures), text, picture, one.why])
    return markdown(["", "published on", "published", "SmolLM2", "DINOv2-like", "why they differ"], rows)


def _attack(row: str) -> str:
    return SPECIFIC if row == "mergebarrier, full" else "aga"
