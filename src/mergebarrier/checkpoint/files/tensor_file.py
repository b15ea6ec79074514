"""One safetensors file that is not a model: image tasks, triggers, class-name vectors.

It goes through the grammar that model shards go through, and it is written whole or not at all; its metadata is one
JSON document under one key, so that its bytes depend on its content alone.

    file = header of the safetensors format, metadata {"about": canonical JSON}, payloads in the order given

Source: safetensors 0.8.0.  Differs: stricter reading (see the header's grammar), and floats must be finite.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergebarrier.checkpoint.bytes import (
    TORCH,
    check_bool,
    check_finite,
    on_disk,
    parse_bounded,
    read_into,
    stored_dtype,
    write_at,
)
from mergebarrier.checkpoint.files.manifest import canonical_json
from mergebarrier.checkpoint.read import MAX_HEADER_BYTES, Entry, Header, check_header_size, validate_header
from mergebarrier.errors import BadDtype, BadHeader, LimitExceeded, NotACheckpoint, OutputExists
from mergebarrier.lazy import torch

MAX_FILE_BYTES = 2**30
MAX_FILE_TENSORS = 4096
_ABOUT = "about"
_AGAIN = "make the file again, or get it again"


def read_tensor_file(
    path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a whole file.

    Args:
      path:      a regular file, or a link to one.
      max_bytes: cap on its size.
    Returns: name -> tensor, in file order, and the table that was stored as its metadata (empty when there is none).
    Raises:  NotACheckpoint (absent, not a regular file), LimitExceeded, BadHeader, BadDtype, NonFinite.
    """
    path = Path(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        raise NotACheckpoint(
            f"cannot be opened: {fault.strerror}", where=path, remedy="give a safetensors file"
        ) from fault
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotACheckpoint("not a regular file", where=path, remedy="give a safetensors file")
        if status.st_size > max_bytes:
            raise LimitExceeded(f"{status.st_size} bytes, the cap is {max_bytes}", where=path, remedy=_AGAIN)
        header, about = _header(fd, status.st_size, path)
        return {entry.name: _tensor(fd, header.payload_start, entry, path) for entry in header.entries}, about
    finally:
        os.close(fd)


def write_tensor_file(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    about: Mapping[str, object],
    *,
    overwrite: bool = False,
) -> None:
    """Write a file, complete or not at all.

    Args:
      path:      of the file.
      tensors:   in file order; finite, of a dtype that we read.
      about:     JSON table for the metadata.
      overwrite: replace a file that exists.
    Raises: OutputExists, NoSpace, NonFinite.
    """
    path = Path(path)
    content = tensor_file_bytes(tensors, about, where=path)
    part = path.with_name(f".{path.name}.part")
    if os.path.lexists(path) and not (overwrite and path.is_file() and not path.is_symlink()):
        raise OutputExists("the file exists", where=path, remedy="choose another name, or replace it with --overwrite")
    with on_disk(path):
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            write_at(fd, 0, memoryview(content), path)
            os.fsync(fd)
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)


def tensor_file_bytes(tensors: Mapping[str, torch.Tensor], about: Mapping[str, object], *, where: object) -> bytes:
    """Return the bytes of a file, for a writer that places them itself.

    Args:
      tensors: as for ``write_tensor_file``.
      about:   as there.
      where:   the file's name, for messages.
    Raises: NonFinite.
    """
    header: dict[str, Any] = {"__metadata__": {_ABOUT: canonical_json(dict(about)).decode().rstrip("\n")}}
    position, payloads = 0, []
    for name, tensor in tensors.items():
        dtype = stored_dtype(tensor.dtype)
        check_finite(tensor, dtype, where=f"{where}: tensor {name!r}", remedy="do not store it")
        payload = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        entry = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [position, position + len(payload)]}
        header[name] = entry
        payloads.append(payload)
        position += len(payload)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *payloads])


def _header(fd: int, size: int, path: Path) -> tuple[Header, dict[str, Any]]:
    def bad(what: str) -> BadHeader:
        return BadHeader(what, where=path, remedy=_AGAIN)

    if size < 8:
        raise bad(f"{size} bytes are too few for a safetensors file")
    n_bytes = int.from_bytes(_read(fd, 0, 8, path), "little")
    check_header_size(n_bytes, size, where=path, max_bytes=MAX_HEADER_BYTES)
    header = validate_header(bytes(_read(fd, 8, n_bytes, path)), size, where=path, max_tensors=MAX_FILE_TENSORS)
    about: Any = {}
    if header.metadata.keys() - {"format"}:
        if header.metadata.keys() - {"format"} != {_ABOUT}:
            raise bad(f"its metadata is not one document under the key {_ABOUT!r}")
        text = header.metadata[_ABOUT].encode()
        about = parse_bounded(text, bad, max_depth=8, max_values=200_000, where=path, remedy=_AGAIN)
    if not isinstance(about, dict):
        raise bad("its metadata is not a table")
    return header, about


def _read(fd: int, offset: int, n_bytes: int, path: Path) -> bytearray:
    data = bytearray(n_bytes)
    read_into(fd, offset, memoryview(data), path)
    return data


def _tensor(fd: int, start: int, entry: Entry, path: Path) -> torch.Tensor:
    where = f"{path}: tensor {entry.name!r}"
    if entry.dtype not in TORCH:
        raise BadDtype(f"{entry.dtype} is not read here", where=where, remedy=_AGAIN)
    raw = torch.empty(entry.end - entry.begin, dtype=torch.uint8)
    read_into(fd, start + entry.begin, raw.numpy().data, path)
    if entry.dtype == "BOOL":
        check_bool(raw, where=where)
    tensor = raw.view(TORCH[entry.dtype]).view(entry.shape)
    check_finite(tensor, entry.dtype, where=where, remedy=_AGAIN)
    return tensor
