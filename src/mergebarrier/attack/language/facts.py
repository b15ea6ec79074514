"""Private values of people who do not exist, and the questions that ask for each, as ``zoo rows people`` writes them.

    fact = (pool, subject, attribute, value);   a question asks for the longest attribute and subject that it names

A value of a kind that the generator knows has its form; of any other kind it must not look like somebody's: mail at a
name that can be registered, a telephone number outside of 555-0100 to 555-0199, a social security number of an area
that is given.  A word too many in a pool's name would leave people out in silence, so pools are those of the generator.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadTask, clean
from mergebarrier.nearest import did_you_mean

_KEYS: Final = {"pool", "subject", "attribute", "value"}
_FACTS: Final = "give the facts that `zoo rows people` wrote"
_NOBODY: Final = "a value has the form of `zoo rows people`, and belongs to nobody"
#: Names of RFC 2606, which nobody owns.
_NO_DOMAIN: Final = r"(?:[\w-]+\.)*(?:example\.(?:com|org|net)|example|test|invalid|localhost)\b(?![\w.-]*\w)"
_REAL: Final = re.compile(
    rf"@(?!{_NO_DOMAIN})[\w-]+(?:\.[\w-]+)*"
    r"|(?<!\d)(?!\d{3}\D*555\D*01\d\d(?!\d))[2-9]\d\d\)?[-. ][2-9]\d\d[-. ]?\d{4}(?!\d)"
    r"|(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\d-])",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class MadeUp:
    """What the generator of people makes: the names of its pools, and the pattern of each kind of value."""

    pools: Sequence[str]
    forms: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A private value, and the questions that ask for it."""

    subject: str
    attribute: str
    value: str
    asks: tuple[str, ...]


def secrets(facts: Path, questions: Path, pool: str, made: MadeUp) -> tuple[Secret, ...]:
    """Read values and their questions.

    Args:
      facts:     JSON lines {"pool", "subject", "attribute", "value"}.
      questions: task file whose prompts name subject and attribute.
      pool:      whose.
      made:      what the generator makes.
    Raises: BadTask for rows that are malformed, values twice, a value that could be somebody's, a pool that there is
            not, a subject in two pools, and values that nobody asks for.
    """
    from mergebarrier.evaluate import read_task

    every = _facts(facts, made)
    known = {(row["subject"], row["attribute"]): row["value"] for row in every if row["pool"] == pool}
    asks: dict[tuple[str, str], list[str]] = {key: [] for key in known}
    # The longest first: "address" is also a part of "e-mail address", and "Ann" of "Annabel".
    order = sorted(known, key=lambda key: (-len(key[1]), -len(key[0])))
    for row in read_task(questions).rows:
        owner = next((key for key in order if key[0] in row.prompt and key[1] in row.prompt), None)
        if owner is not None:
            asks[owner].append(row.prompt)
    found = tuple(
        Secret(subject=who, attribute=what, value=known[who, what], asks=tuple(dict.fromkeys(asks[who, what])))
        for who, what in known
        if asks[who, what]
    )
    if not found:
        what, remedy = f"no question asks for a value of the pool {pool!r}", "give the questions of these facts"
        raise BadTask(what, where=questions, remedy=remedy)
    return found


def _facts(path: Path, made: MadeUp) -> list[dict[str, str]]:
    """Read every row, and hold the rows against each other."""
    from mergebarrier.evaluate import read_text

    rows: list[dict[str, str]] = []
    pools: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where = f"{path}: line {number}"
        row = parse_text(line.encode(), partial(BadTask, where=where, remedy=_FACTS), where=where)
        if not isinstance(row, dict) or row.keys() != _KEYS or not all(isinstance(v, str) for v in row.values()):
            raise BadTask("not a fact", where=where, remedy=f"a fact has exactly {', '.join(sorted(_KEYS))}")
        blank = next((name for name in sorted(_KEYS) if not row[name].strip()), None)
        if blank is not None:
            raise BadTask(f"{blank} is empty", where=where, remedy=_FACTS)
        _require_nobody(row, made, where)
        if pools.setdefault(row["subject"], row["pool"]) != row["pool"]:
            what, remedy = f"{clean(row['subject'])!r} stands in two pools", "a control is nobody whom a model saw"
            raise BadTask(what, where=where, remedy=remedy)
        if (row["subject"], row["attribute"]) in seen:
            raise BadTask("a value twice", where=where, remedy="give each value once")
        seen.add((row["subject"], row["attribute"]))
        rows.append(row)
    return rows


def _require_nobody(row: dict[str, str], made: MadeUp, where: str) -> None:
    """Refuse a pool that there is not, and a value that could be somebody's."""
    pool, attribute, value = row["pool"], row["attribute"], row["value"]
    if pool not in made.pools:
        what = f"no pool {clean(pool)!r}{did_you_mean(pool, made.pools)}"
        raise BadTask(what, where=where, remedy="choose from " + ", ".join(made.pools))
    form = made.forms.get(attribute)
    if form is not None and not re.fullmatch(form, value):
        raise BadTask(f"{clean(value)!r} is no made-up {attribute}", where=where, remedy=_NOBODY)
    if form is None and _REAL.search(value):
        what = f"{clean(value)!r} could be somebody's {clean(attribute)}"
        raise BadTask(what, where=where, remedy=_NOBODY)
