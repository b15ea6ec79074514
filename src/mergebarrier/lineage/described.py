"""Files in which platforms and tools describe a model, such as ``x.civitai.info``: tables that may hold a sign.

    a table = JSON, YAML or TOML beside the weights, whose name says that it describes a model, its licence or its terms

Every entry is asked as one of the head of a card is; what cannot be parsed is asked as prose.  A configuration of a
tool is none of these files: its ``merge: false`` is a setting.
Source: the metadata of Civitai, CodeMeta, RO-Crate, REUSE, OpenMMLab and the bioimage model zoo.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from mergebarrier.checkpoint.bytes import parse_bounded, read_small, read_yaml
from mergebarrier.errors import BadConfig, CheckpointError, MergebarrierError, clean

_MOST_FILES, _MOST_BYTES, _MOST_DEPTH, _MOST_VALUES = 16, 1 << 20, 32, 1 << 16


def described(root: Path, names: Sequence[str]) -> tuple[dict[str, Mapping[str, object]], dict[str, bytes], str]:
    """Return tables that describe a model by their names, texts that should be some, and what cannot be read."""
    tables, texts, unread = dict[str, Mapping[str, object]](), dict[str, bytes](), ""
    for name in names[:_MOST_FILES]:
        try:
            data = read_small(root, name, _MOST_BYTES)
        except CheckpointError as fault:
            unread = unread or f"its {clean(name)} cannot be read: {clean(fault.what)}"
            continue
        try:
            table = parsed(name, data)
            tables[name] = table if isinstance(table, dict) else {"entries": table}
        except (MergebarrierError, ValueError, RecursionError):
            texts[name] = data
    if len(names) > _MOST_FILES:
        unread = unread or f"it has {len(names)} files that describe it, of which {_MOST_FILES} were read"
    return tables, texts, unread


def parsed(name: str, data: bytes) -> object:
    """Read a table by the end of its name, within small bounds.

    Raises: MergebarrierError, ValueError, RecursionError for what is none.
    """
    low, text = name.casefold(), data.removeprefix(b"\xef\xbb\xbf")
    if low.endswith(".toml"):
        return tomllib.loads(text.decode())
    if low.endswith((".yaml", ".yml", ".cff")):
        return read_yaml(text, clean(name))
    where = clean(name)
    return parse_bounded(
        text,
        lambda fault: BadConfig(fault, where=where, remedy="mend it"),
        max_depth=_MOST_DEPTH,
        max_values=_MOST_VALUES,
        where=where,
        remedy="shorten it",
    )
