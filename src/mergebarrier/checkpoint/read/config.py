"""What config.json may not ask for: code from the checkpoint, kernels from a hub, quantised weights.

The file is data here and is copied byte for byte, but the output may be loaded with a library that acts on it; so a
config that names code is refused rather than passed on.

    refused key: auto_map, trust_remote_code, custom_*, *kernel* with text in it, an attention name with a path in it

Source: CVE-2026-4372 and CVE-2026-5241 (kernels fetched through config keys).  Differs: no flag allows it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mergebarrier.checkpoint.bytes import parse_bounded, read_small
from mergebarrier.errors import BadConfig, BadDtype, RemoteCodeRefused, clean

MAX_CONFIG_BYTES = 4 * 2**20
MAX_CONFIG_DEPTH = 32
_MAX_VALUES = 200_000
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines", "custom_generate", "custom_objects"})
_ATTENTION_KEY = re.compile(r"_?(attn|experts)_implementation(_internal|_autoset)?")
_PLAIN_NAME = re.compile(r"[a-z0-9_]+", re.ASCII)
_NAMES_CODE = {
    "tokenizer_config.json": 16 * 2**20,
    "generation_config.json": MAX_CONFIG_BYTES,
    "preprocessor_config.json": MAX_CONFIG_BYTES,
}


def read_json(root: Path, name: str, max_bytes: int = MAX_CONFIG_BYTES) -> object:
    """Parse a small JSON file of a model folder, strictly; BadConfig or LimitExceeded names the file."""
    where, remedy = root / name, "repair the file, or download it again"

    def bad(what: str) -> BadConfig:
        return BadConfig(what, where=where, remedy=remedy)

    text = read_small(root, name, max_bytes)
    return parse_bounded(text, bad, max_depth=MAX_CONFIG_DEPTH, max_values=_MAX_VALUES, where=where, remedy=remedy)


def read_config(root: Path) -> dict[str, object]:
    """Read and check config.json.

    Args:
      root: resolved model folder.
    Returns: the parsed table.
    Raises:  BadConfig, LimitExceeded, RemoteCodeRefused, BadDtype (quantised weights).
    """
    config = read_json(root, "config.json")
    if not isinstance(config, dict):
        raise BadConfig("not a table", where=root / "config.json", remedy="download the file again")
    refuse_code(config, root / "config.json")
    for key in ("quantization_config", "compression_config"):
        if config.get(key) is not None:
            raise BadDtype(
                f"the weights are quantised ({key})",
                where=root / "config.json",
                remedy="use the original BF16, F16 or F32 weights",
            )
    return config


def check_side_files(root: Path, side_files: tuple[str, ...]) -> None:
    """Refuse code named in the tokenizer's, the generation's or the image processor's config."""
    for name, max_bytes in _NAMES_CODE.items():
        if name in side_files:
            refuse_code(read_json(root, name, max_bytes), root / name)


def refuse_code(document: object, where: object) -> None:
    """Raise RemoteCodeRefused when a key at any depth names code to be loaded or a kernel to be fetched."""
    for key, value in _walk(document):
        if _asks_for_code(key, value):
            raise RemoteCodeRefused(
                f"key {clean(key)!r} asks for code to be loaded",
                where=where,
                remedy="use a copy of the model without custom code and remove the key",
            )


def _walk(document: object) -> Iterator[tuple[str, object]]:
    todo = [document]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            yield from item.items()
            todo += item.values()
        elif isinstance(item, list):
            todo += item


def _asks_for_code(key: str, value: object) -> bool:
    if value is None or value is False:
        return False
    if key in _CODE_KEYS:
        return True
    if _ATTENTION_KEY.fullmatch(key):
        values = value.values() if isinstance(value, dict) else [value]
        return not all(v is None or v is False or (isinstance(v, str) and _PLAIN_NAME.fullmatch(v)) for v in values)
    return "kernel" in key.lower() and not isinstance(value, int | float)
