"""What the parents say that a model's card names: an owner's sign holds for what is made of the model too.

    inherited(said) = said, with every sign of a parent, and of its parents, that it lacks itself

A parent is a name of the Hub, however it is spelled, under ``base_model`` of a card or in the configuration of an
adapter; the caller says where its folder is: in a cache of this machine and nowhere else, since a card is a stranger's,
so no path in it is followed and nothing is fetched for it.  Cards, licence files and manifest of a parent are read, and
no weights.  Differs from other tools: they copy the name.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from mergebarrier.addresses import ADDRESS
from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, read_json, read_manifest
from mergebarrier.checkpoint.bytes import parse, read_small
from mergebarrier.errors import BadConfig, CheckpointError, clean
from mergebarrier.lineage.card import Declaration, declaration, front_matter, signing, spoken, tables_about
from mergebarrier.lineage.licence import UNKNOWN
from mergebarrier.lineage.licence_texts import as_list
from mergebarrier.lineage.signs import folded, latin

#: name of the Hub -> its folder on this machine, None where there is none.
Find = Callable[[str], Path | None]
MAX_PARENTS: Final = 64
_MAX_TEXT_BYTES: Final = 16 << 20
_ADAPTER: Final = "adapter_config.json"
_KEY = re.compile(
    r"(?:base|parent|source|original) models?(?: names?| ids?| name or path)?|fine ?tuned(?: from)?(?: model)?"
)
_LINK = re.compile(r"\[[^\]]*\]\(([^()]*)\)")
_BEHIND = re.compile(r"[@?#].*|/(?:tree|blob|resolve|raw|commit)/.*")
_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}(?:/[A-Za-z0-9_][\w.\-]{0,95})?", re.ASCII)


def inherited(said: Declaration, source: Checkpoint, find: Find) -> tuple[Declaration, list[tuple[str, str]]]:
    """Return what a model says with the signs of its parents, and the licences of those that were found."""
    licences = []
    for name, parent in _parents(_read(source.root)[0], find):
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


def _parents(left: list[str], find: Find) -> Iterator[tuple[str, Declaration]]:
    """Yield name and declaration of every ancestor that cards name and this machine has, each once."""
    seen: dict[str, None] = {}
    while left and len(seen) < MAX_PARENTS:
        name = left.pop(0)
        folder = None if name in seen else find(name)
        seen[name] = None
        if folder is not None:
            names, said = _read(folder)
            left += names
            yield clean(name), said
    if any(name not in seen for name in left):
        yield (
            clean(left[0]),
            Declaration(unread=f"one of more than {MAX_PARENTS} models that cards name; not looked at"),
        )


def _read(folder: Path) -> tuple[list[str], Declaration]:
    """Return the names of the Hub that a folder gives for its parents, and what the folder says."""
    root, manifest, adapter = folder.resolve(), None, None
    files, unread = spoken(root)
    try:
        if (root / _ADAPTER).exists():
            adapter = parse(read_small(root, _ADAPTER, _MAX_TEXT_BYTES), BadConfig)
        if (root / MANIFEST_NAME).exists():
            manifest = read_manifest(root, max_bytes=_MAX_TEXT_BYTES)["content"]
    except CheckpointError as fault:
        unread = clean(fault.what)
    config = _config(root)
    tables = [front_matter(data)[0] for name, data in files.items() if "/" not in name] + [adapter or {}]
    texts = (text for table in tables for text in _texts(table))
    names = dict.fromkeys(filter(None, (hub_name(part) for text in texts for part in text.split(","))))
    told, texts_of, closed = tables_about(root)
    said = declaration({**files, **texts_of}, manifest, signing({"config.json": config}), told)
    return list(names), replace(said, unread=said.unread or unread or closed)


def _config(root: Path) -> dict[str, object]:
    """Return the configuration of a parent; one that cannot be read holds nothing that a loader would take."""
    with suppress(CheckpointError):
        config = read_json(root, "config.json") if (root / "config.json").exists() else {}
        return config if isinstance(config, dict) else {}
    return {}


def _texts(table: Mapping[str, object], asked: bool = False) -> Iterator[str]:
    """Yield the texts below keys that name parents, and what tags such as ``base_model:owner/name`` say."""
    for key, value in table.items():
        words, todo = folded(str(key)), as_list(value)[:]
        named = asked or _KEY.fullmatch(words) is not None
        while todo:
            item = todo.pop(0)
            if isinstance(item, list):
                todo += item
            elif isinstance(item, dict) and named:
                yield from _texts(item, asked=True)
            elif isinstance(item, str) and named:
                yield item
            elif isinstance(item, str) and words in ("tags", "tag") and folded(item).startswith("base model"):
                yield item.rpartition(":")[2]


def hub_name(text: str) -> str:
    """Return the name of the Hub that a text means: itself, a link, a package URL, the name of a cache's folder.

    Example: >>> hub_name("https://hf.co/org/tiny/tree/main"), hub_name(" org/tiny@v2 "), hub_name("../x")
             ('org/tiny', 'org/tiny', '')
    """
    link = _LINK.fullmatch(text.strip())
    plain = (link[1] if link else text).strip().replace("\\", "/").replace(" / ", "/").removeprefix("./")
    plain = _BEHIND.sub("", plain).rstrip("/ ")
    found = ADDRESS.fullmatch(plain)
    plain = plain if found is None else found["name"]
    if plain.startswith("models--"):
        plain = plain.removeprefix("models--").replace("--", "/", 1)
    plain = latin(plain)
    return plain if _NAME.fullmatch(plain) and ".." not in plain else ""
