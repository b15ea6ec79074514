"""What the parents say that a model's card names: an owner's sign holds for what is made of the model too.

    inherited(said) = said, with every sign of a parent, and of its parents, that it lacks itself

A parent is a name of the Hub under ``base_model``; the caller says where its folder is: in a cache of this machine and
nowhere else, since a card is a stranger's, so no path in it is followed and nothing is fetched for it.  Card, licence
files and manifest of a parent are read, and no weights.  Differs from other tools: they copy the name.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint import LICENCE_FILES, MANIFEST_NAME, Checkpoint, read_manifest
from mergebarrier.checkpoint.bytes import read_small
from mergebarrier.errors import CheckpointError, clean
from mergebarrier.lineage.card import CARD, Declaration, as_list, declaration, front_matter
from mergebarrier.lineage.licence import UNKNOWN

#: name of the Hub -> its folder on this machine, None where there is none.
Find = Callable[[str], Path | None]
MAX_PARENTS: Final = 64
_MAX_TEXT_BYTES: Final = 16 << 20


def inherited(said: Declaration, source: Checkpoint, find: Find) -> tuple[Declaration, list[tuple[str, str]]]:
    """Return what a model says with the signs of its parents, and the licences of those that were found."""
    licences = []
    for name, parent in _parents(source.read_side_file(CARD), find):
        licences += [(name, parent.licence)] if parent.licence != UNKNOWN else []
        wish, barred, unread = parent.do_not_merge, parent.no_derivatives, parent.unread
        said = replace(
            said,
            do_not_merge=said.do_not_merge or (f"its parent {name}: {wish}" if wish else ""),
            no_derivatives=said.no_derivatives or (f"its parent {name} ({barred})" if barred else ""),
            unread=said.unread or (f"of its parent {name}: {unread}" if unread else ""),
            attack=said.attack or parent.attack,
        )
    return said, licences


def _parents(card: bytes, find: Find) -> Iterator[tuple[str, Declaration]]:
    """Yield name and declaration of every ancestor that cards name and this machine has, each once."""
    seen: dict[str, None] = {}
    left = list(_named(card))
    while left and len(seen) < MAX_PARENTS:
        name = left.pop(0)
        folder = None if name in seen else find(name)
        seen[name] = None
        if folder is not None:
            text, said = _read(folder)
            left += _named(text)
            yield clean(name), said
    if any(name not in seen for name in left):
        yield (
            clean(left[0]),
            Declaration(unread=f"one of more than {MAX_PARENTS} models that cards name; not looked at"),
        )


def _named(card: bytes) -> list[str]:
    found = front_matter(card)[0].get("base_model") if b"base_model" in card else None
    return [name for name in as_list(found) if isinstance(name, str)]


def _read(folder: Path) -> tuple[bytes, Declaration]:
    """Return the card of a folder, and what the folder says."""
    files, manifest = dict[str, bytes](), None
    try:
        for name in (CARD, *LICENCE_FILES):
            if (folder / name).exists():
                files[name] = read_small(folder.resolve(), name, _MAX_TEXT_BYTES)
        if (folder / MANIFEST_NAME).exists():
            manifest = read_manifest(folder, max_bytes=_MAX_TEXT_BYTES)["content"]
    except CheckpointError as fault:
        return files.get(CARD, b""), replace(declaration(files), unread=clean(fault.what))
    return files.get(CARD, b""), declaration(files, manifest)
