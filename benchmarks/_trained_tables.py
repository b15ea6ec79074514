"""The tables of trained protections: what every attacker recovers, and what the owner pays."""

import json
from collections.abc import Sequence
from typing import Any

from _keep import Rows
from mergebarrier.audit.metrics import spread_of

COLUMNS = ("shared", "grid", "edits", "smooth", "learn", "recover-100", "recover-1000")
BLACK_BOX = COLUMNS[:4]


def lines(kept: Rows) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every line, one per seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for key, figures in kept.rows.items():
        found.setdefault(json.loads(key)[0], []).append(figures)
    return found


def show(kept: Rows, columns: Sequence[str] = COLUMNS) -> None:
    """Print both tables."""
    found = lines(kept)
    print("RUF: mean and error over the seeds, then the greatest; `black box`: the best of those that see answers.\n")
    print("| protection | seeds | " + " | ".join(columns) + " | black box |")
    print("|---" * (len(columns) + 3) + "|")
    for name, rows in found.items():
        cells = [spread([row["ruf"][column] for row in rows]) for column in columns]
        cells.append(spread([max(row["ruf"].get(column, 0.0) for column in BLACK_BOX) for row in rows]))
        print(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
    print("\nBoth skills at the best merge (protected / partner), seed by seed, and its coefficients.\n")
    print("| protection | grid | coefficients | smooth | mean coefficients |\n|---|---|---|---|---|")
    for name, rows in found.items():
        cells = []
        for column in ("grid", "smooth"):
            best = [row["best"][column][0] for row in rows]
            cells.append("; ".join(f"{ours:.2f} / {theirs:.2f}" for _, ours, theirs in best))
            cells.append("; ".join(", ".join(f"{one:.2g}" for one in where.values()) for where, _, _ in best))
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nWhat it costs the owner: means over the seeds; the plain expert in brackets where it is another model.\n")
    head = ("alone", "int8", "int4", "answers alike", "nats per answer", "nats of text", "reached", "strength")
    print("| protection | " + " | ".join((*head, "training CPU s", "attack CPU s")) + " |")
    print("|---" * (len(head) + 3) + "|")
    for name, rows in found.items():
        cells = [of(rows, "alone", "plain"), *(pair(rows, f"int{bits}") for bits in (8, 4))]
        cells.append(f"{mean([row['alike'] for row in rows]):.3f}")
        training = [row["training"] for row in rows if row["training"]]
        for place in (0, 1):
            after, before = ([row[side][place] for row in training] for side in ("after", "plain"))
            cells.append(f"{mean(after):.3f} ({mean(before):.3f})" if training else "")
        for part in ("reached", "strength", "seconds"):
            cells.append(f"{mean([row[part] for row in training]):.2f}" if training else "")
        cells.append(f"{mean([row['attack seconds'] for row in rows]):.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def spread(values: Sequence[float]) -> str:
    """Return mean, error and the greatest; of one seed the figure alone, as nobody knows its error."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    found = spread_of([[value] for value in values])
    return f"{found.mean:.2f} ± {found.error:.2f} ({found.greatest:.2f})"


def of(rows: Sequence[dict[str, Any]], part: str, beside: str) -> str:
    """Return the mean of one figure, and that of another in brackets."""
    return f"{mean([row[part] for row in rows]):.3f} ({mean([row[beside] for row in rows]):.3f})"


def pair(rows: Sequence[dict[str, Any]], part: str) -> str:
    """Return the mean of a pair of figures."""
    ours, theirs = zip(*(row[part] for row in rows), strict=True)
    return f"{mean(ours):.3f} ({mean(theirs):.3f})"


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)
