"""Where terms stand in a folder, and which well-known licence a text is, from a few phrases that no other text has.

    words(text) = runs of a-z, 0-9 and "+", one blank between;   licence = the one whose phrases all occur

A text that holds the phrases of two licences, that is much longer than the licence it seems to be, or that says that
it was modified, is "unknown": an added clause is exactly what must not be overlooked. Source: the texts as
their stewards publish them. Differs from a licence scanner: no similarity score, so no text is "mostly" a licence.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from mergebarrier.checkpoint import LICENCE_FILES
from mergebarrier.checkpoint.bytes import read_small
from mergebarrier.errors import CheckpointError, clean
from mergebarrier.lineage.signs import folded

_WORD = re.compile(r"[a-z0-9+]+")
_MAX_BYTES = 1 << 18

#: licence -> (characters that the text has at most once reduced to words, phrases that must all occur).
#: The caps are about 1.4 times the length of the published text.
_TEXTS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "apache-2.0": (15_000, ("apache license version 2 0 january 2004", "grant of patent license")),
    "mit": (
        2_500,
        (
            "permission is hereby granted free of charge to any person obtaining a copy",
            "the software is provided as is",
        ),
    ),
    "isc": (2_000, ("permission to use copy modify and or distribute this software for any purpose with or without",)),
    "bsd-3-clause": (2_800, ("redistributions of source code must retain", "neither the name of", "as is and any")),
    "bsd-2-clause": (2_200, ("redistributions of source code must retain", "as is and any")),
    "unlicense": (2_500, ("this is free and unencumbered software released into the public domain",)),
    "gpl-2.0": (26_000, ("gnu general public license version 2 june 1991",)),
    "gpl-3.0": (50_000, ("gnu general public license version 3 29 june 2007",)),
    "lgpl-2.1": (38_000, ("gnu lesser general public license version 2 1 february 1999",)),
    "lgpl-3.0": (60_000, ("gnu lesser general public license version 3 29 june 2007",)),
    "agpl-3.0": (50_000, ("gnu affero general public license version 3 19 november 2007",)),
    "mpl-2.0": (24_000, ("mozilla public license version 2 0", "covered software")),
    "cc0-1.0": (10_000, ("cc0 1 0 universal", "affirmer")),
    "creativeml-openrail-m": (24_000, ("creativeml open rail m",)),
    "bigscience-openrail-m": (24_000, ("bigscience open rail m",)),
    "bigscience-bloom-rail-1.0": (24_000, ("bigscience rail license",)),
    "bigcode-openrail-m": (30_000, ("bigcode open rail m",)),
    "openrail++": (24_000, ("creativeml open rail++ m",)),
    "llama2": (24_000, ("llama 2 community license agreement",)),
    "llama3": (24_000, ("meta llama 3 community license agreement",)),
    "llama3.1": (24_000, ("llama 3 1 community license agreement",)),
    "llama3.2": (24_000, ("llama 3 2 community license agreement",)),
    "llama3.3": (24_000, ("llama 3 3 community license agreement",)),
    "llama4": (24_000, ("llama 4 community license agreement",)),
    "gemma": (24_000, ("gemma terms of use",)),
    "tongyi-qianwen": (16_000, ("tongyi qianwen license agreement",)),
    "tongyi-qianwen-research": (16_000, ("tongyi qianwen research license agreement",)),
    "qwen": (16_000, ("qwen license agreement", "alibaba cloud")),
    "qwen-research": (16_000, ("qwen research license agreement",)),
}
#: The Creative Commons texts differ in the words of their title alone.
_CC_TITLE = re.compile(
    r"\b(?:attribution( noncommercial)?( noderivatives| noderivs| sharealike)? (\d) (\d) "
    r"(?:international|unported|generic)"
    r"|cc by( nc)?( nd| sa)? (\d) (\d))\b"
)
_CC_MAX_CHARS = 30_000
_CC_VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")
_CC_LETTERS = {
    "": "", " noncommercial": "-nc", " noderivatives": "-nd", " noderivs": "-nd", " sharealike": "-sa",
    " nc": "-nc", " nd": "-nd", " sa": "-sa",
}  # fmt: skip
#: A text that includes another one whole, or whose phrases are a part of another's.
_INCLUDES: Mapping[str, tuple[str, ...]] = {
    "bsd-3-clause": ("bsd-2-clause",),
    "lgpl-3.0": ("gpl-3.0",),
}
#: A short text that names another licence speaks of parts under that one.
_SHORT = ("mit", "isc", "bsd-2-clause", "bsd-3-clause", "unlicense")
_OTHERS = ("public licen", "apache licen", "creative commons", "non commercial", "noncommercial", "rail license")
#: Files that people write terms into, by the words of their names; parts of other works are not the model's own terms.
_SPEAKING = re.compile(
    r"(?:(?!third party).)*\b(?:readme|model ?card|(?:un)?licen[sc]es?|copying|copyright|eula|terms|agreement|lizenz"
    r"|use policy)\b.*"
)
_SILENT = re.compile(r".*\.(?:jsonl?|ya?ml|jinja|safetensors|py|png|jpe?g|gif|svg|webp|model|bin|sig)", re.IGNORECASE)
_MAX_TEXTS = 64
_MAX_FILE_BYTES = 64 << 20
_CHANGED = ("commons clause", "modified mit", "modified apache", "additional restriction", "with the following changes")


def identify(data: bytes) -> str:
    """Name the licence that a file holds.

    Args:
      data: the file; not UTF-8, or above 256 KiB, is "unknown".
    Returns: the identifier that model cards use ("apache-2.0", "cc-by-nc-4.0", ..), or "unknown".
    Example: >>> identify(b"Attribution-NonCommercial 4.0 International")
             'cc-by-nc-4.0'
    """
    if len(data) > _MAX_BYTES:
        return "unknown"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown"
    words = " ".join(_WORD.findall(text.lower()))
    if any(phrase in words for phrase in _CHANGED):
        return "unknown"
    found = [name for name, (_, phrases) in _TEXTS.items() if all(phrase in words for phrase in phrases)]
    dropped = [inner for name in found for inner in _INCLUDES.get(name, ())]
    found = [name for name in found if name not in dropped] + _creative_commons(words)
    if len(found) != 1 or len(words) > _longest(found[0]):
        return "unknown"
    mixed = found[0] in _SHORT and any(phrase in words for phrase in _OTHERS)
    return "unknown" if mixed else found[0]


def spoken(root: Path) -> tuple[dict[str, bytes], str]:
    """Return the cards and licence texts of a folder, however they are spelled, and what of them cannot be read."""
    files, unread = dict[str, bytes](), ""
    with os.scandir(root) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries)
    names = [name for name, is_folder in found if not is_folder]
    for folder in [name for name, is_folder in found if is_folder and _speaks(name)]:
        names += [f"{folder}/{name}" for name in sorted(os.listdir(root / folder))]
    names = [name for name in names if name in LICENCE_FILES or _speaks(name)]
    for name in names[:_MAX_TEXTS]:
        try:
            files[name] = read_small(root / Path(name).parent, Path(name).name, _MAX_FILE_BYTES)
        except CheckpointError as fault:
            unread = unread or f"its {clean(name)} cannot be read: {clean(fault.what)}"
    if len(names) > _MAX_TEXTS:
        unread = unread or f"it has {len(names)} cards and licences, of which {_MAX_TEXTS} were read"
    return files, unread


def _speaks(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return not _SILENT.fullmatch(file) and (bool(folder) or _SPEAKING.fullmatch(folded(file)) is not None)


def _longest(licence: str) -> int:
    return _TEXTS[licence][0] if licence in _TEXTS else _CC_MAX_CHARS


def _creative_commons(words: str) -> list[str]:
    """Return the licences whose titles occur, each once; a title is never a part of another one."""
    found = []
    for match in _CC_TITLE.finditer(words):
        commercial, change, major, minor = match.groups()[:4] if match[3] else match.groups()[4:]
        name = f"cc-by{_CC_LETTERS[commercial or '']}{_CC_LETTERS[change or '']}-{major}.{minor}"
        if name not in found and f"{major}.{minor}" in _CC_VERSIONS:
            found.append(name)
    return found
