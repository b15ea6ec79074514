"""Files in which platforms and tools describe a model, such as ``x.civitai.info``: tables that may hold a sign.

    a table = JSON, YAML or TOML beside the weights, whose name says that it describes a model, its licence or its
              terms; or .reuse/dep5, the older of the two lists of REUSE

Every entry is asked as one of the head of a card is; what cannot be parsed is asked as prose.  A configuration of a
tool is none of these files: its ``merge: false`` is a setting.
Source: the metadata of Civitai, CodeMeta, RO-Crate, REUSE, OpenMMLab and the bioimage model zoo.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from mergebarrier.checkpoint.bytes import parse_bounded, read_small, read_yaml
from mergebarrier.errors import BadConfig, CheckpointError, MergebarrierError, clean

_BETWEEN, _LINE = re.compile(r"\n[ \t]*\n"), re.compile(r"^([\w-]{1,64}):(.*)$", re.MULTILINE)
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
        next_one = clean(names[_MOST_FILES])
        unread = (
            unread
            or f"it has {len(names)} files that describe it, of which {_MOST_FILES} were read, and {next_one} was not"
        )
    return tables, texts, unread


def parsed(name: str, data: bytes) -> object:
    """Read a table by the end of its name, within small bounds.

    Raises: MergebarrierError, ValueError, RecursionError for what is none.
    """
    low, text = name.casefold(), data.removeprefix(b"\xef\xbb\xbf")
    if low.endswith("dep5"):
        return _paragraphs(text.decode())
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


def _paragraphs(text: str) -> list[dict[str, str]]:
    """Read paragraphs of ``Key: value`` lines, the form of Debian's copyright files; lines that go on are left out."""
    parts = _BETWEEN.split(text.replace("\r\n", "\n"))
    return [{key.strip().casefold(): value.strip() for key, value in _LINE.findall(part)} for part in parts]
