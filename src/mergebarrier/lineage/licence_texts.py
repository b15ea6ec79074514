"""Which well-known licence a text holds, from a few phrases that no other has, and whether texts forbid a merge.

    words(text) = runs of a-z, 0-9 and "+", one blank between;   licence = the one whose phrases all occur

A text that holds the phrases of two licences, that is much longer than the licence it seems to be, or that says that
it was modified, is "unknown": an added clause is exactly what must not be overlooked. Source: the texts as
their stewards publish them. Differs from a licence scanner: no similarity score, so no text is "mostly" a licence.
"""

import re
from collections.abc import Iterator, Mapping

from mergebarrier.checkpoint import MANIFEST_NAME
from mergebarrier.errors import clean
from mergebarrier.lineage.licence import NO_DERIVATIVES, UNKNOWN
from mergebarrier.lineage.signs import signs_in_prose
from mergebarrier.lineage.wordings import NO_DERIVATIVES as NO_DERIVATIVE_WORDS

_WORD = re.compile(r"[a-z0-9+]+")
_MAX_BYTES = 1 << 18
_MAX_TEXT_BYTES = 1 << 20
_UTF8 = "utf-8-sig"
#: Of all cards and licences of a folder.
_MOST_LETTERS = 1 << 20

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


def wish_of(head: str, prose: Mapping[str, tuple[str, str]], content: Mapping[str, object]) -> str:
    """Return where a wish not to be merged stands; ``head`` says where it does in the head of a card."""
    found = head or next((f"{name}: {words}" for name, (words, _) in prose.items() if words), "")
    if found:
        return clean(found)
    if content.get("do_not_merge"):
        return f"{MANIFEST_NAME}: do_not_merge"
    return next((f"{MANIFEST_NAME}: an input" for _, said in _made_of(content) if said.get("do_not_merge")), "")


def bar_of(
    head: str, licences: Mapping[str, str], prose: Mapping[str, tuple[str, str]], content: Mapping[str, object]
) -> str:
    """Return where a sign stands that forbids derivatives, as the subject of a sentence; ``licences`` are folded."""
    if head:
        return clean(f"its {head}")
    barred = next((name for name, words in licences.items() if NO_DERIVATIVE_WORDS.search(words)), "")
    words = next((words for _, words in prose.values() if words), "")
    if barred or words:
        return clean(f"its {barred}" if barred else f"its card ({words})")
    for licence_of, said in _made_of(content):
        if licence_of in NO_DERIVATIVES or said.get("no_derivatives"):
            return clean(f"an input in its {MANIFEST_NAME} ({licence_of})")
    return ""


def _made_of(content: Mapping[str, object]) -> list[tuple[str, Mapping[str, object]]]:
    """Return licence and declaration of every input that a manifest lists."""
    items = [item for item in as_list(content.get("inputs")) if isinstance(item, dict)]
    said = [item.get("declared") for item in items]
    tables = [table if isinstance(table, dict) else {} for table in said]
    return [(str(item.get("licence", UNKNOWN)), table) for item, table in zip(items, tables, strict=True)]


def decoded(data: bytes) -> str:
    """Decode a text as it is most likely meant, with one kind of line end."""
    text = data[:_MAX_TEXT_BYTES].decode(_code(data), errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def in_utf8(data: bytes) -> bytes:
    """Return a text in UTF-8 with one kind of line end; what claims to be UTF-8 and is not stays as it is."""
    if _code(data) != _UTF8:
        return decoded(data).encode()
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _code(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    wide = next((code for end, code in ((0, "utf-16-be"), (1, "utf-16-le")) if _wide(data[end:64:2])), "")
    return wide or _UTF8


def _wide(every_other: bytes) -> bool:
    return len(every_other) > 1 and not any(every_other)


def unreadable(files: Mapping[str, bytes], content: Mapping[str, object]) -> str:
    """Return which file could not be looked at whole, or holds no text; of an input of a manifest too."""
    for name, data in files.items():
        if len(data) > _MAX_TEXT_BYTES:
            return f"its {clean(name)} is longer than {_MAX_TEXT_BYTES} bytes"
        if "\0" in decoded(data)[:4096] or data.startswith((b"%PDF", b"PK\x03\x04", b"\x1f\x8b")):
            return f"its {clean(name)} cannot be read: it is no text"
    found = next((said["unread"] for _, said in _made_of(content) if said.get("unread")), "")
    return clean(f"of an input in its {MANIFEST_NAME}: {found}") if found else ""


def as_list(value: object) -> list[object]:
    """Return what may be a list or one value as a list."""
    return [] if value is None else value if isinstance(value, list) else [value]


def prose_of(texts: Mapping[str, str], bodies: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the signs of every text; what is longer than all that anybody writes, or behind it, is one."""
    left = _MOST_LETTERS
    for name, text in texts.items():
        left -= len(text)
        said = (f"more text than the {_MOST_LETTERS} letters that are looked at", "")
        yield name, said if left < 0 else signs_in_prose(text, bodies.get(name, text))
