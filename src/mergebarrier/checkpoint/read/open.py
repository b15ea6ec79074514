"""Open a model folder, or refuse it with one line: which files count, and that they agree with each other.

Nothing here looks at a weight.  Shards are bare names inside the folder, the index and the headers must list the same
pairs both ways, and formats that can run code (pickles) or that are not a model (adapters) are named as what they are.

    {(tensor, shard) in headers} == {(tensor, shard) in weight_map}

Source: transformers issue 47176; the folder conventions of huggingface_hub.  Differs: ``model.safetensors`` together
with an index that names another file is refused, because readers disagree about which one counts.
"""

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from mergebarrier.checkpoint.bytes import (
    FLOATS,
    TORCH,
    Shard,
    TensorInfo,
    open_regular,
    parse_bounded,
    read_into,
    read_small,
)
from mergebarrier.checkpoint.read.checkpoint import MAX_SIDE_FILE_BYTES, Checkpoint
from mergebarrier.checkpoint.read.code import refusal
from mergebarrier.checkpoint.read.copies import without_copies
from mergebarrier.checkpoint.read.instead import INDEX, SINGLE, no_model
from mergebarrier.checkpoint.read.side_files import (
    MODULES,
    SIDE_FILES,
    TEMPLATE_FOLDER,
    TOKEN_FILES,
    below,
    is_another_kind,
    is_sound_below,
    names_stock_classes,
)
from mergebarrier.checkpoint.read.texts import (
    MAX_CONFIG_DEPTH,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    Header,
    check_header_size,
    check_quantisation,
    claims_pieces,
    code_of,
    is_configuration,
    is_text,
    read_config,
    read_json,
    validate_header,
)
from mergebarrier.errors import (
    BadConfig,
    BadDtype,
    BadHeader,
    BadIndex,
    LimitExceeded,
    NotACheckpoint,
    UnsafePath,
    clean,
)

MAX_INDEX_BYTES = 64 * 2**20
MAX_SHARDS = 10_000
SHARD_NAME = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*\.safetensors")
_QUANTISED = frozenset({
    "qweight", "qzeros", "scales", "g_idx", "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_zero_point",
    "weight_packed", "weight_shape", "input_scale", "absmax", "quant_map", "nested_absmax", "SCB", "weight_format",
})  # fmt: skip
_PACKED = ("W_q", "_blocks", "_scales")  # HQQ's matrix and the halves of one in MXFP4, where they are whole numbers
_MAX_TEXTS_BYTES = 64 * 2**20
_AGAIN = "download the model again, all files"
UNGATHERED = "as a sharded trainer (ZeRO-3, FSDP) saves what it did not gather"
GATHER = "gather the shards and save again, such as by zero_to_fp32.py or with summon_full_params"


def open_checkpoint(
    path: str | os.PathLike[str], *, max_header_bytes: int = MAX_HEADER_BYTES, any_code: bool = False
) -> Checkpoint:
    """Open and check a Hugging Face model folder, snapshot folders of its cache included.

    Args:
      path:             the folder.
      max_header_bytes: cap on one shard's header.
      any_code:         open it, to be described and no more, though its code would be needed; ``refused`` says why.
    Returns: Checkpoint; close it, or use it in a ``with`` block.
    Raises:  NotACheckpoint, UnsafePath, PickleRefused, AdapterRefused, RemoteCodeRefused, BadIndex, BadHeader,
             BadConfig, BadDtype, LimitExceeded; each names the file and what to do.
    """
    path = Path(path)
    names = list_folder(path)
    root = path.resolve()
    weights = _which_weights(path, names)
    config = read_config(root)
    side_files = side_files_of(root, names, SIDE_FILES)
    code = code_of(root, side_files, config)
    refused = refusal(root, code, side_files, config) if code else None
    if refused is not None and not any_code:
        raise refused
    check_side_file_sizes(root, side_files)
    weight_map = _read_index(root) if weights == INDEX else None
    shard_names = [SINGLE] if weight_map is None else sorted(set(weight_map.values()))
    files: dict[str, tuple[int, Path]] = {}
    try:
        shards, n_tensors = [], 0
        for name in shard_names:
            files[name] = open_regular(root, name)
            shard = read_shard(path, name, files[name][0], max_header_bytes, MAX_TENSORS - n_tensors)
            n_tensors += len(shard.tensors)
            shards.append(shard)
        if weight_map is not None and n_tensors > len({one.name for shard in shards for one in shard.tensors}):
            shards = without_copies(path, shards, weight_map, files)
        _check_pairs(path, shards, weight_map)
        matrices = (tensor.dtype for shard in shards for tensor in shard.tensors if len(tensor.shape) > 1)
        plain = all(dtype in FLOATS or dtype == "BOOL" for dtype in matrices)  # a mask is no packed weight
        check_quantisation(config, root / "config.json", plain=plain)
        return Checkpoint(path, root, config, tuple(shards), side_files, files).without(code, refused)
    except BaseException:
        for fd, _ in files.values():
            os.close(fd)
        raise


def side_files_of(root: Path, names: frozenset[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return what an output needs of a folder beside its weights: known files, other texts, and those in its folders.

    Left behind are what is too much (64 MiB of other texts, as much in folders) and what is not what its name says.
    """
    texts = _fitting(root, filter(is_text, names - set(known)), partial(_is_readable, root))
    folders = [name for name in names if (root / name).is_dir()]
    if folders or MODULES in texts:
        texts += _fitting(root, below(root, folders, texts), partial(is_sound_below, root))
    return *(
        name for name in known if name in names and not (claims_pieces(name) and is_another_kind(root, name))
    ), *texts


def _fitting(root: Path, names: Iterable[str], may: Callable[[str], bool]) -> tuple[str, ...]:
    found: list[str] = []
    left = _MAX_TEXTS_BYTES
    for name in sorted(names):
        size = (root / name).stat().st_size if (root / name).is_file() else left + 1
        if size <= left and may(name):
            found, left = [*found, name], left - size
    return tuple(found)


def _is_readable(root: Path, name: str) -> bool:
    if not is_configuration(name):
        return not is_another_kind(root, name)
    try:
        document = read_json(root, name)
    except (BadConfig, LimitExceeded):
        return False
    return name != MODULES or names_stock_classes(document)


def is_of_tokenizer(name: str) -> bool:
    """Whether a file of a folder is one of its tokenizer."""
    if name in TOKEN_FILES or name.startswith(TEMPLATE_FOLDER):
        return True
    return "/" not in name and name.endswith((".spm", ".tiktoken", ".bpe", ".vocab"))


def list_folder(path: Path) -> frozenset[str]:
    """Return the names in a folder; NotACheckpoint for anything else."""
    if path.is_file():
        raise NotACheckpoint("this is a file", where=path, remedy="give the folder that holds config.json and weights")
    try:
        return frozenset(os.listdir(path))
    except FileNotFoundError as fault:
        raise NotACheckpoint("there is no such folder", where=path, remedy="check the path") from fault
    except OSError as fault:
        what, remedy = f"cannot be listed ({fault.strerror})", "give a folder with config.json and weights"
        raise NotACheckpoint(what, where=path, remedy=remedy) from fault


def _which_weights(path: Path, names: frozenset[str]) -> str:
    """Return ``SINGLE`` or ``INDEX``, or say what the folder is instead."""
    adapter = min((n for n in names if n == "adapter_config.json" or n.startswith("adapter_model.")), default=None)
    if adapter is None and SINGLE in names and INDEX in names and read_shard_names(path.resolve()) != [SINGLE]:
        what = f"the folder holds both {SINGLE} and an index, and tools disagree about which one counts"
        raise BadIndex(what, where=path / INDEX, remedy="remove the one that is not the model")
    if adapter is not None or not names & {SINGLE, INDEX}:
        raise no_model(path, names, adapter)
    if "config.json" not in names:
        raise NotACheckpoint("config.json is missing", where=path / "config.json", remedy=_AGAIN)
    return INDEX if INDEX in names else SINGLE


def check_side_file_sizes(root: Path, side_files: tuple[str, ...]) -> None:
    """Open every side file as a regular file once, and refuse one that is too large to copy."""
    for name in side_files:
        fd, _ = open_regular(root, name)
        try:
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size > MAX_SIDE_FILE_BYTES:
            what = f"{size} bytes, the cap is {MAX_SIDE_FILE_BYTES}"
            raise LimitExceeded(what, where=root / name, remedy="check this file")


def read_shard_names(root: Path) -> list[str]:
    """Return the names of the shards that the index of a folder lists; errors as ``open_checkpoint``."""
    return sorted(set(_read_index(root).values()))


def _read_index(root: Path) -> dict[str, str]:
    bad = partial(BadIndex, where=(where := root / INDEX), remedy=_AGAIN)
    text = read_small(root, INDEX, MAX_INDEX_BYTES)
    document: Any = parse_bounded(
        text, bad, max_depth=MAX_CONFIG_DEPTH, max_values=MAX_TENSORS + 1000, where=where, remedy=_AGAIN
    )
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise bad("weight_map is missing, empty or not a table")
    unknown = next((key for key in document if key not in ("metadata", "weight_map")), None)
    if unknown is not None:
        raise bad(f"unknown key {clean(unknown)!r}")
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str):
            raise bad(f"tensor {clean(tensor)!r}: the shard is not a name")
        if not SHARD_NAME.fullmatch(shard):
            what = f"tensor {clean(tensor)!r} is said to be in {clean(shard)!r}, which is not a plain file name"
            remedy = "do not use this model; its index points outside the folder or is damaged"
            raise UnsafePath(what, where=where, remedy=remedy)
    if len(set(weight_map.values())) > MAX_SHARDS:
        raise LimitExceeded(f"more than {MAX_SHARDS} shards", where=where, remedy="save the model in larger shards")
    return weight_map


def read_shard(path: Path, name: str, fd: int, max_header_bytes: int, tensors_left: int) -> Shard:
    """Read and validate the header of one open weight file; ``fd`` stays open."""
    where, size = path / name, os.fstat(fd).st_size
    if size < 8:
        raise BadHeader(f"{size} bytes are too few for a safetensors file", where=where, remedy=_AGAIN)
    prefix = bytearray(8)
    read_into(fd, 0, memoryview(prefix), where)
    n_bytes = int.from_bytes(prefix, "little")
    check_header_size(n_bytes, size, where=where, max_bytes=max_header_bytes)
    text = bytearray(n_bytes)
    read_into(fd, 8, memoryview(text), where)
    header = validate_header(bytes(text), size, where=where, max_tensors=tensors_left)
    _check_use(header, where)
    start = header.payload_start
    infos = tuple(TensorInfo(e.name, e.dtype, e.shape, name, start + e.begin, start + e.end) for e in header.entries)
    return Shard(name, size, infos, header.metadata)


def _check_use(header: Header, where: Path) -> None:
    """Refuse what is legal in the format and not a plain torch model: other frameworks and quantised weights."""
    layout = header.metadata.get("format", "pt")
    if layout not in ("pt", "mlx"):  # which stock loaders read alike
        raise BadHeader(f"weights of format {clean(layout)!r}", where=where, remedy="export the model from PyTorch")
    for entry in header.entries:
        last, number = entry.name.rpartition(".")[2], entry.dtype[0] in "IUB" and entry.dtype != "BF16"
        part = last in _QUANTISED or ".quant_state." in entry.name or (number and last.endswith(_PACKED))
        if part or entry.dtype not in TORCH or (number and last == "weight"):
            what = f"{entry.dtype} belongs to a quantised model, or to one that we cannot read"
            what = "it is part of a quantised matrix" if part else what
            place, remedy = f"{where}: tensor {entry.name!r}", "use the original BF16, F16 or F32 weights"
            raise BadDtype(what, where=place, remedy=remedy)


def _check_pairs(path: Path, shards: list[Shard], weight_map: dict[str, str] | None) -> None:
    found: dict[str, str] = {}
    for shard in shards:
        for tensor in shard.tensors:
            if tensor.name in found:
                what = f"tensor {tensor.name!r} is in {found[tensor.name]} and in {shard.name}, with other values"
                raise BadIndex(what, where=path / shard.name, remedy=f"{_AGAIN}: loaders may take either")
            if tensor.name.endswith(".weight") and tensor.shape == (0,):
                what = f"the tensor is empty (shape {tensor.shape}), {UNGATHERED}"
                raise BadHeader(what, where=f"{path / shard.name}: tensor {tensor.name!r}", remedy=GATHER)
            found[tensor.name] = shard.name
    if not found:
        raise NotACheckpoint("the weights hold no tensor", where=path / shards[0].name, remedy=_AGAIN)
    for name, listed in (weight_map or {}).items():
        if name not in found and name.endswith(".rotary_emb.inv_freq"):
            continue  # every loader computes it: files of today leave out what old indices list
        if found.get(name) != listed:
            what = f"is listed in {listed}, but it is {f'in {found[name]}' if name in found else 'not there'}"
            raise BadIndex(f"tensor {clean(name)!r} {what}", where=path / INDEX, remedy=_AGAIN)
    extra = next((name for name in found if weight_map is not None and name not in weight_map), None)
    if extra is not None:
        raise BadIndex(f"tensor {extra!r} of {found[extra]} is not listed", where=path / INDEX, remedy=_AGAIN)
