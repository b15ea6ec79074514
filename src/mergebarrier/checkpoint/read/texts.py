"""What the texts of a model may say: the header of a safetensors file, and config.json; every reader here goes through.

Of a header, caps are checked before the cost is paid, then the bytes must be the one reading that every library shares:
no duplicate or unknown field, no float, no hole, no overlap, nothing after the brace but blanks.  A config is data here
and is copied byte for byte, but a library that loads the output may act on it; so what names code from the checkpoint,
kernels from a hub or quantised weights is found here, and never passed on.

    header   begin_0 = 0,  begin_k = end_(k-1),  end_last = file size - 8 - n,  end - begin = prod(shape) * bits / 8
    config   names code: auto_map, trust_remote_code, custom_*, *kernel* with text in it, an attention name with a path

Source: the format's README and ``Metadata::validate`` of safetensors 0.8.0; CVE-2026-4372 and CVE-2026-5241 (kernels
fetched through config keys).  Differs: stricter (names, ranks, unknown fields, duplicates, leading and trailing white
space), so that what we accept every other reader accepts alike; and no flag allows code.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mergebarrier.checkpoint.bytes import BITS, Skeleton, check_depth, parse, parse_bounded, read_small, skeleton
from mergebarrier.errors import BadConfig, BadDtype, BadHeader, LimitExceeded, clean

MAX_CONFIG_BYTES = 4 * 2**20
MAX_CONFIG_DEPTH = 32
_MAX_VALUES = 200_000
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines", "custom_generate", "custom_objects"})
_ATTENTION_KEY = re.compile(r"_?(attn|experts)_implementation(_internal|_autoset)?")
_PLAIN_NAME = re.compile(r"[a-z0-9_]+", re.ASCII)
#: Texts that loaders read: processors, templates, vocabularies, normalisers, whatever a family calls them.
_TEXT = re.compile(r"[A-Za-z0-9_][\w.\-]*\.(json|jinja|txt|model|model\.v\d\w*|spm|tiktoken|bpe|vocab)", re.ASCII)
_LISTS = re.compile(r".*\.(model|model\.v\d\w*|spm|tiktoken)", re.ASCII | re.IGNORECASE)
#: Texts of a training, of other tools, of us: no loader reads them, or they speak of another folder.
_OTHERS = re.compile(r"mergebarrier.*|trainer_state\.json|\w+_results\.json|requirements.*|.*\.index\.json|adapter_.*")
#: Constants of a configuration that every loader computes with.
_CONSTANTS = re.compile(r"rope_theta|rope_local_base_freq|partial_rotary_factor|\w*norm_(?:eps|epsilon)", re.ASCII)
#: Classes of a head; more than any published one has.
_MAX_LABELS = 10**6
_LONG = {"tokenizer_config.json": 16 * 2**20}


def read_json(root: Path, name: str, max_bytes: int = MAX_CONFIG_BYTES) -> object:
    """Parse a small JSON file of a model folder, strictly; BadConfig or LimitExceeded names the file."""
    place: dict[str, Any] = {"where": root / name, "remedy": "repair the file, or download it again"}
    bounds: dict[str, Any] = {"max_depth": MAX_CONFIG_DEPTH, "max_values": _MAX_VALUES}
    text, infinite = read_small(root, name, max_bytes), name == "config.json"
    return parse_bounded(text, partial(BadConfig, **place), **place, **bounds, infinite=infinite)


def read_config(root: Path) -> dict[str, object]:
    """Return the table of config.json in a resolved model folder.  Raises: BadConfig, LimitExceeded."""
    config = read_json(root, "config.json")
    if not isinstance(config, dict):
        raise BadConfig("not a table", where=root / "config.json", remedy="download the file again")
    for part in _tables(config):
        text = next((key for key, value in part.items() if isinstance(value, str) and _CONSTANTS.fullmatch(key)), None)
        if text is not None:
            what = f"{text} is {clean(repr(part[text]))}, which is no number"
            raise BadConfig(what, where=root / "config.json", remedy="use the config.json of its weights")
        labels = part.get("num_labels")
        if isinstance(labels, int | float) and not labels <= _MAX_LABELS:  # stock classes make a table of that length
            what = f"num_labels is {labels:g}, the cap is {_MAX_LABELS}"
            raise BadConfig(what, where=root / "config.json", remedy="use a configuration that its weights fit")
    return config


def _tables(config: dict[str, object]) -> Iterator[dict[str, object]]:
    """Yield a table and the tables in it."""
    yield config
    for part in config.values():
        if isinstance(part, dict):
            yield from _tables(part)


def check_quantisation(config: dict[str, object], where: Path, *, plain: bool) -> None:
    """Refuse a configuration that calls the weights quantised; ``plain`` says that every matrix holds floats."""
    keys = ("quantization_config", "compression_config")
    key = next((key for table in _tables(config) for key in keys if table.get(key) is not None), None)
    if key is None:
        return
    what, remedy = f"the weights are quantised ({key})", "use the original BF16, F16 or F32 weights"
    if plain:
        what = f"{key} is left over from a quantised parent: all weights here are plain floats"
        remedy = f"remove {key} from the file, or loaders quantise the model or fail"
    raise BadDtype(what, where=where, remedy=remedy)


def is_text(name: str) -> bool:
    """Whether a name is one of a text that a loader may read."""
    return _TEXT.fullmatch(name) is not None and _OTHERS.fullmatch(name) is None


def claims_pieces(name: str) -> bool:
    """Say whether a file of this name is read as a list of pieces."""
    return _LISTS.fullmatch(name) is not None


def code_of(root: Path, names: Iterable[str], config: object) -> dict[str, tuple[str, ...]]:
    """Return which of some configurations of a folder, and its config.json, name code: file -> keys."""
    documents = {"config.json": config}
    documents |= {
        name: read_json(root, name, _LONG.get(name, MAX_CONFIG_BYTES)) for name in names if is_configuration(name)
    }
    return {name: keys for name, document in documents.items() if (keys := code_keys(document))}


def is_configuration(name: str) -> bool:
    """Whether a text at the top of a folder may name code."""
    return name.endswith("_config.json") or name == "modules.json"


def code_keys(document: object) -> tuple[str, ...]:
    """Return the keys, at any depth, that name code to be loaded or a kernel to be fetched; each once."""
    return tuple(dict.fromkeys(key for key, value in _walk(document) if _asks_for_code(key, value)))


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
    sizes = value if isinstance(value, list) else [value]
    return "kernel" in key.lower() and not all(isinstance(size, int | float) for size in sizes)


MAX_HEADER_BYTES = 16 * 2**20
MAX_TENSORS = 200_000
MAX_RANK = 8
MAX_DIMENSION = 2**31
MAX_NAME_BYTES = 512
_MAX_DEPTH = 4
_MEMBERS_PER_TENSOR = 1 + 3
_VALUES_PER_TENSOR = 3 + MAX_RANK + 2
_MAX_METADATA = 4096
_NAME = re.compile(r"[A-Za-z0-9_.*\-]+")  # transformers 5 writes a star into names of ESM
_AGAIN = "download the file again, or have its author save it with the safetensors library"


@dataclass(frozen=True)
class Entry:
    """One tensor of a header; ``begin`` and ``end`` count from the start of the payload, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A validated header: entries in offset order, string metadata, and where the payload starts in the file."""

    entries: tuple[Entry, ...]
    metadata: dict[str, str]
    payload_start: int


def check_header_size(n_bytes: int, file_size: int, *, where: object, max_bytes: int = MAX_HEADER_BYTES) -> None:
    """Check the header's length before its bytes are read.

    Args:
      n_bytes:   length of the header that the file states.
      file_size: of the whole file, in bytes.
      where:     file named in errors.
      max_bytes: cap.
    Raises: BadHeader, LimitExceeded.
    """
    if n_bytes < 2 or 8 + n_bytes > file_size:
        raise BadHeader(f"header of {n_bytes} bytes in a file of {file_size}", where=where, remedy=_AGAIN)
    if n_bytes > max_bytes:
        raise LimitExceeded(
            f"header of {n_bytes} bytes, the cap is {max_bytes}",
            where=where,
            remedy="if you trust the file, open it from Python with a higher max_header_bytes",
        )


def validate_header(
    text: bytes, file_size: int, *, where: object = "safetensors header", max_tensors: int = MAX_TENSORS
) -> Header:
    """Read a header and refuse whatever two libraries could read differently.

    Args:
      text:        the n bytes after the 8-byte length.
      file_size:   size of the whole file in bytes.
      where:       file named in errors.
      max_tensors: tensors that the model may still hold.
    Returns: Header.
    Raises:  BadHeader, BadDtype, LimitExceeded; each names the file and, where there is one, the tensor.
    """

    def bad(what: str) -> BadHeader:
        return BadHeader(what, where=where, remedy=_AGAIN)

    if len(text) < 2 or 8 + len(text) > file_size:
        raise bad(f"header of {len(text)} bytes in a file of {file_size}")
    if not text.startswith(b"{"):
        raise bad(f"header starts with byte 0x{text[0]:02x}, not with a brace")
    body = text.rstrip(b" ")
    if not body.endswith(b"}"):
        raise bad("header does not end with a brace and blanks")
    _check_counts(skeleton(body), max_tensors, where)
    document = parse(body, bad, integers_only=True)
    if len(document) > max_tensors + 1:
        raise LimitExceeded(f"more than {max_tensors} tensors", where=where, remedy="split the model")
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise bad("__metadata__ is not a table of strings")
    entries = tuple(sorted((_entry(name, value, where) for name, value in document.items()), key=_offset))
    _check_contiguous(entries, file_size - 8 - len(text), where)
    return Header(entries, metadata, 8 + len(text))


def _check_counts(seen: Skeleton, max_tensors: int, where: object) -> None:
    """Bound what a parser would have to build: tables, their members, and the values in lists."""
    if seen.tables > max_tensors + 2 or len(seen.brackets) > 2 * (3 * max_tensors + 2):
        raise LimitExceeded(f"more than {max_tensors} tensors", where=where, remedy="split the model")
    if (
        seen.members > _MEMBERS_PER_TENSOR * seen.tables + _MAX_METADATA
        or seen.commas > _VALUES_PER_TENSOR * seen.tables + _MAX_METADATA
    ):
        raise LimitExceeded(f"{seen.commas} values for {seen.tables} tables", where=where, remedy=_AGAIN)
    check_depth(seen.brackets, _MAX_DEPTH, where=where, remedy=_AGAIN)


def _offset(entry: Entry) -> tuple[int, int, str]:
    return entry.begin, entry.end, entry.name


def _natural(value: object) -> bool:
    return type(value) is int


def _entry(name: str, value: object, where: object) -> Entry:
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_BYTES:
        raise BadHeader(
            f"a tensor name is 1 to {MAX_NAME_BYTES} letters, digits, dots, dashes, underscores and stars",
            where=f"{where}: tensor {clean(name)!r}",
            remedy="rename the tensor where the model was made",
        )
    place = f"{where}: tensor {name!r}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise BadHeader("entry does not hold exactly dtype, shape, data_offsets", where=place, remedy=_AGAIN)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise BadDtype(f"unknown dtype {clean(dtype)!r}", where=place, remedy="save the model as BF16, F16 or F32")
    if not isinstance(shape, list) or not all(map(_natural, shape)):
        raise BadHeader("shape is not a list of integers", where=place, remedy=_AGAIN)
    if len(shape) > MAX_RANK or any(size > MAX_DIMENSION for size in shape):
        raise LimitExceeded(
            f"shape of rank {len(shape)}, at most {MAX_RANK} dimensions of at most {MAX_DIMENSION}",
            where=place,
            remedy=_AGAIN,
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_natural, offsets)):
        raise BadHeader("data_offsets is not two integers", where=place, remedy=_AGAIN)
    begin, end = offsets
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8 or end - begin != bits // 8:
        raise BadHeader(
            f"shape {shape} of {dtype} takes {bits / 8:.16g} bytes, the offsets give {end - begin}",
            where=place,
            remedy=_AGAIN,
        )
    return Entry(name, dtype, tuple(shape), begin, end)


def _check_contiguous(entries: tuple[Entry, ...], payload_bytes: int, where: object) -> None:
    position = 0
    for entry in entries:
        if entry.begin != position:
            fault = "overlaps the one before" if entry.begin < position else "leaves a hole"
            raise BadHeader(
                f"begins at byte {entry.begin}, expected {position}: {fault}",
                where=f"{where}: tensor {entry.name!r}",
                remedy=_AGAIN,
            )
        position = entry.end
    if position != payload_bytes:
        raise BadHeader(f"tensors take {position} bytes, the file holds {payload_bytes}", where=where, remedy=_AGAIN)
