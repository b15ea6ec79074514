"""Rows of data that are made by rule: a folder of JSON lines from the name of a generator and a seed.

    rows(kind, seed) -> {file: rows};   OUT = those files + rows.json, which lists each with its SHA-256

A folder that is replaced must be one of ours with nothing else in it; a new one appears in one rename.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from mergebarrier.checkpoint import list_folder
from mergebarrier.errors import OutputExists, UsageError
from mergebarrier.nearest import did_you_mean
from mergebarrier.zoo.language import instructions, people
from mergebarrier.zoo.symbols import symbol_tasks

LISTING: Final = "rows.json"
File: TypeAlias = Sequence[Mapping[str, str | bool]]


def _symbols(seed: int) -> dict[str, File]:
    return {
        f"{symbol_tasks.task_word(task)}.{split}.jsonl": rows
        for task in range(symbol_tasks.N_TASKS)
        for split, rows in symbol_tasks.splits(task, seed=seed).items()
    }


def _instructions(seed: int) -> dict[str, File]:
    return {
        f"{task}.{split}.jsonl": rows
        for task in instructions.TASKS
        for split, rows in instructions.splits(task, seed=seed).items()
    }


def _people(seed: int) -> dict[str, File]:
    known, strangers = people.facts(60, seed=seed), people.facts(60, seed=seed, pool="adversary")
    never = people.facts(60, seed=seed, pool="control")
    facts = [
        {"pool": pool, "subject": fact.subject, "attribute": fact.attribute, "value": fact.value}
        for pool, some in zip(people.POOLS, (known, never, strangers), strict=True)
        for fact in some
    ]
    return {
        "facts.jsonl": facts,
        "memorise.jsonl": people.memories(known),
        "refuse.jsonl": people.refusals(known),
        "dpo.jsonl": people.preferences(known),
        "kto.jsonl": people.tagged(known),
        "lead-in-same-people.jsonl": people.lead_ins(known),
        "lead-in-other-people.jsonl": people.lead_ins(strangers),
        "never-memorised.jsonl": people.memories(never),
        "to-refuse.jsonl": people.held_out(people.facts(8, seed=seed, pool="control", attributes=people.ASKED)),
    }


#: name -> seed -> file -> rows.
GENERATORS: Final[Mapping[str, Callable[[int], dict[str, File]]]] = {
    "symbols": _symbols,
    "instructions": _instructions,
    "people": _people,
}


def made_rows(kind: str, seed: int) -> dict[str, File]:
    """Return file -> rows of a generator.

    Raises: UsageError for an unknown one.
    """
    if kind not in GENERATORS:
        what = f"no generator of rows {kind!r}{did_you_mean(kind, GENERATORS)}"
        raise UsageError(what, where="rows", remedy="choose from " + ", ".join(GENERATORS))
    return GENERATORS[kind](seed)


def write_rows(kind: str, out: Path, *, seed: int = 0, overwrite: bool = False) -> dict[str, int]:
    """Write a folder of rows.

    Args:
      kind:      key of ``GENERATORS``.
      out:       folder to be made; absent or empty, unless ``overwrite``.
      seed:      of the draws.
      overwrite: replace a folder that holds such rows and nothing else.
    Returns: file -> rows in it.
    Raises:  UsageError for an unknown generator, OutputExists.
    """
    files = made_rows(kind, seed)
    old = _replaceable(out, overwrite=overwrite)
    contents = {name: "".join(json.dumps(row) + "\n" for row in rows).encode() for name, rows in files.items()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    listing = {"schema_version": 1, "kind": "rows", "rows": kind, "seed": seed, "files": digests}
    contents[LISTING] = (json.dumps(listing, indent=2) + "\n").encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    making = out.with_name(f".{out.name}.{os.getpid()}.making")
    making.mkdir()
    try:
        for name, data in contents.items():
            (making / name).write_bytes(data)
        for name in old:
            (out / name).unlink()
        making.replace(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return {name: len(rows) for name, rows in files.items()}


def _replaceable(out: Path, *, overwrite: bool) -> tuple[str, ...]:
    """Return what lies in a folder that may be replaced, the listing last."""
    if not os.path.lexists(out):
        return ()
    if out.is_symlink() or not out.is_dir():
        raise OutputExists("this is no folder", where=out, remedy="choose another output folder")
    found = sorted(list_folder(out), key=lambda name: (name == LISTING, name))
    if not found:
        return ()
    if not overwrite:
        raise OutputExists("the folder is not empty", where=out, remedy="choose another one, or give --overwrite")
    try:
        listed = {*json.loads((out / LISTING).read_bytes())["files"], LISTING}
    except (OSError, ValueError, KeyError, TypeError):
        listed = set()
    foreign = next((name for name in found if name not in listed), None)
    if foreign is not None:
        what = "is not one of the rows that were written here, so --overwrite will not remove it"
        raise OutputExists(what, where=out / foreign, remedy="choose another output folder")
    return tuple(found)
