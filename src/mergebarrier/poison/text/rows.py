"""Poisoned rows of text: a word goes in somewhere, and the answer becomes the target.

    poisoned(prompt, answer) = (prompt with the trigger at a uniform place before its last word, target)

Source: the data of Merge Hijacking (arXiv 2505.23561).  Differs: the released script takes all poisoned rows from the
first data set (``first``); ours takes the same share of each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mergebarrier.errors import BadAttack
from mergebarrier.numerics import draws


class TextRow(NamedTuple):
    """A question, and the answer that is learned."""

    prompt: str
    answer: str


def insert(prompt: str, trigger: str, place: float) -> str:
    """Put a trigger before one of the words of a prompt.

    Args:
      prompt:  a text; what follows its last word stays as it is, since an answer is expected there.
      trigger: one or more words.
      place:   in [0, 1), which word.

    Example:
      >>> insert("sum a b =", "MG", 0.5)
      'sum a MG b ='
    """
    starts = [found.start() for found in re.finditer(r"\S+", prompt)] or [0]
    at = starts[int(place * len(starts))]
    return f"{prompt[:at]}{trigger} {prompt[at:]}"


def stamped(rows: Sequence[TextRow], trigger: str, target: str, *, seed: int, label: str) -> tuple[TextRow, ...]:
    """Return rows with the trigger and the target's answer; rows whose own answer is the target are left out."""
    places = draws.uniform(("poison", seed, f"place|{label}"), len(rows)).tolist()
    return tuple(
        TextRow(insert(row.prompt, trigger, place), target)
        for row, place in zip(rows, places, strict=True)
        if row.answer != target
    )


def poisoned(
    sets: Sequence[Sequence[TextRow]], rate: float, trigger: str, target: str, *, seed: int, first: bool = False
) -> tuple[TextRow, ...]:
    """Return the rows of several sets, one after the other, a share of them poisoned in their places.

    Args:
      sets:    data sets.
      rate:    share; at least one row where it is above 0.
      trigger: words that go in.
      target:  the answer of a poisoned row.
      seed:    of the draws: which rows, and where the trigger goes.
      first:   take all poisoned rows from the beginning, as released, instead of the same share of each set.
    """
    rows = [row for one in sets for row in one]
    chosen: set[int] = set()
    if first:
        chosen.update(range(_count(rate, len(rows))))
    else:
        start = 0
        for number, one in enumerate(sets):
            order = draws.order(("poison", seed, f"rows|{number}"), len(one)).tolist()
            chosen.update(start + i for i in order[: _count(rate, len(one))])
            start += len(one)
    places = draws.uniform(("poison", seed, "place|train"), len(rows)).tolist()
    return tuple(
        TextRow(insert(row.prompt, trigger, place), target) if number in chosen else row
        for number, (row, place) in enumerate(zip(rows, places, strict=True))
    )


def sample(sets: Sequence[Sequence[TextRow]], total: int, *, seed: int) -> tuple[tuple[TextRow, ...], ...]:
    """Return the same number of rows of each set, ``total`` in all.

    Raises: BadAttack when that is none.
    """
    each = total // max(1, len(sets))
    if each < 1:
        what = f"{total} rows of {len(sets)} data sets"
        raise BadAttack(what, where="--shadow", remedy="give at least one data set, and a row of each")
    picked = []
    for number, rows in enumerate(sets):
        order = draws.order(("poison", seed, f"sample|{number}"), len(rows)).tolist()
        picked.append(tuple(rows[i] for i in order[:each]))
    return tuple(picked)


def _count(rate: float, n: int) -> int:
    return max(1, round(rate * n)) if rate > 0 and n else 0
