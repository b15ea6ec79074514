"""``mergebarrier.json``: what a folder was made from, how, and a digest of everything in it.

The document has two parts: ``content`` is a function of inputs, method, key and version alone, so two machines write
the same one; ``environment`` says where it was made.  The manifest digest covers ``content`` only.

    content_sha256 = SHA-256(canonical JSON of content);   canonical: sorted keys, "," ":", ASCII, final newline
    seal = HMAC-SHA256(sub-key of the owner's key, canonical JSON of content);   without it anyone may have written it
    digest of weights = BLAKE3(all before the payload, then the digest of every tensor in offset order), or SHA-256

Source: RFC 8785 in spirit.  Differs: ASCII escapes and Python's shortest floats instead of the RFC's number format.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mergebarrier.checkpoint.bytes import (
    BLAKE3,
    SHA256,
    TensorInfo,
    hash_tensor,
    open_regular,
    parse_bounded,
    read_into,
    read_small,
    shard_digest,
)
from mergebarrier.checkpoint.read import check_header_size, validate_header
from mergebarrier.errors import BadManifest, CheckpointError, clean

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from mergebarrier.checkpoint.files.contents import Manifest

    Sealer = Callable[[bytes], Mapping[str, str]]

MANIFEST_NAME = "mergebarrier.json"
#: 1: digests of tensors and of files are SHA-256; 2: those of tensors and of weights are BLAKE3 (``shard_digest``).
SCHEMA_VERSIONS = {SHA256: 1, BLAKE3: 2}
_SPELLED = {SHA256: "SHA-256", BLAKE3: "BLAKE3"}
_MAX_BYTES = 128 * 2**20
_MAX_DEPTH = 32
_MAX_VALUES = 8_000_000
_BLOCK_BYTES = 1 << 22
#: A file of the folder, or of a folder in it, at most four names deep.
_FILE_NAME = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*(/[A-Za-z0-9_\-][A-Za-z0-9_.\-]*){0,3}")


def canonical_json(document: object) -> bytes:
    r"""Serialise to the one canonical form.

    Args:
      document: dicts with string keys, lists, tuples, str, int, finite float, bool, None.
    Returns: ASCII bytes that end in a newline.
    Raises:  ValueError for NaN and Inf; TypeError for other types.
    Example: >>> canonical_json({"b": 1, "a": [True, None]})
             b'{"a":[true,null],"b":1}\n'
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def build_manifest(
    content: Mapping[str, object],
    environment: Mapping[str, object],
    seal: "Sealer | None" = None,
    hashing: str = SHA256,
) -> bytes:
    """Return the bytes; adds ``schema_version``, which says the hash, the digest of ``content``, and a key's seal."""
    content = {**content, "schema_version": SCHEMA_VERSIONS[hashing]}
    text = canonical_json(content)
    digest = hashlib.sha256(text).hexdigest()
    sealed = {} if seal is None else {"seal": seal(text)}
    return canonical_json({"content": content, "content_sha256": digest, "environment": environment, **sealed})


def read_manifest(
    path: str | os.PathLike[str], *, name: str = MANIFEST_NAME, max_bytes: int = _MAX_BYTES, ours: bool = False
) -> "Manifest":
    """Read and check the manifest of a folder: data from a stranger, even where it names us.

    Args:
      path:      the folder.
      name:      of the file, for a copy of a manifest.
      max_bytes: refuse a longer one.
      ours:      this run has just written it, or looks only whether there is one: its types need no check.
    Returns: content, its digest, the environment and a seal; the content has the type that its verb says.
    Raises:  BadManifest when it is missing, malformed, of a newer schema, edited, or out of bounds; LimitExceeded.
    """
    where = Path(path) / name

    def bad(what: str) -> BadManifest:
        return BadManifest(what, where=where, remedy="use the folder as mergebarrier wrote it")

    if not os.path.lexists(where):
        raise bad("there is no manifest")
    text = read_small(Path(path).resolve(), name, max_bytes)
    document = parse_bounded(
        text, bad, max_depth=_MAX_DEPTH, max_values=_MAX_VALUES, where=where, remedy="use the folder as it was written"
    )
    if not isinstance(document, dict) or document.keys() - {"seal"} != {"content", "content_sha256", "environment"}:
        raise bad("not a table of content, content_sha256 and environment")
    content = document["content"]
    if not isinstance(content, dict) or not isinstance(document["environment"], dict):
        raise bad("content or environment is not a table")
    version = content.get("schema_version")
    if type(version) is not int or version not in SCHEMA_VERSIONS.values():
        raise bad(f"schema version {version!r}, this release reads up to {max(SCHEMA_VERSIONS.values())}")
    canonical = canonical_json(content)
    if hashlib.sha256(canonical).hexdigest() != document["content_sha256"]:
        raise bad("the digest in the file is not that of its content")
    odd = None if ours else _out_of_type(canonical, str(content.get("verb"))) or _odd_seal(document.get("seal"))
    if odd is not None:
        raise bad(odd)
    return cast("Manifest", document)


def _out_of_type(canonical: bytes, verb: str) -> str | None:
    """Say what in a content is not of the type that its verb has."""
    from pydantic import ValidationError

    try:
        _adapter(verb).validate_json(canonical, strict=True)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return clean(f"its content lacks {place}" if first["type"] == "missing" else f"content.{place}: {first['msg']}")
    return None


@cache
def _adapter(verb: str) -> "TypeAdapter[object]":
    from pydantic import TypeAdapter

    from mergebarrier.checkpoint.files.content import Content
    from mergebarrier.checkpoint.files.contents import CONTENTS

    return TypeAdapter(CONTENTS.get(verb, Content))


def _odd_seal(seal: object) -> str | None:
    if seal is None:
        return None
    texts = [seal.get(name) for name in ("key_id", "hmac_sha256")] if isinstance(seal, dict) and len(seal) == 2 else []
    fine = texts and all(isinstance(text, str) for text in texts)
    return None if fine else "the seal is not a table of key_id and hmac_sha256"


def verify_manifest(path: str | os.PathLike[str]) -> list[str]:
    """Hash a folder again and compare it with its manifest.

    Args:
      path: the folder.
    Returns: one line per problem; empty when every listed file is there with the listed bytes and no weights are extra.
    Raises:  BadManifest when there is no manifest to compare with.
    """
    root = Path(path).resolve()
    listed = _listed_files(read_manifest(path), Path(path) / MANIFEST_NAME)
    problems = []
    for name, (expected_size, hashing, expected_digest) in sorted(listed.items()):
        try:
            size, digest = (_hash_weights if hashing == BLAKE3 else _hash_file)(root, name)
        except CheckpointError as fault:
            problems.append(str(fault))
            continue
        if size != expected_size:
            problems.append(f"{name}: {size} bytes, the manifest lists {expected_size}")
        elif digest != expected_digest:
            problems.append(f"{name}: {_SPELLED[hashing]} {digest}, the manifest lists {expected_digest}")
    folders = sorted({"", *(name[: name.rindex("/") + 1] for name in listed if "/" in name)})
    present = [folder + name for folder in folders if (root / folder).is_dir() for name in os.listdir(root / folder)]
    extra = sorted(name for name in present if name.endswith(".safetensors") and name not in listed)
    return problems + [f"{clean(name)}: weights that the manifest does not list" for name in extra]


def hash_whole(root: Path, name: str) -> str:
    """Return the SHA-256 of a file of a folder; UnsafePath, NotACheckpoint."""
    return _hash_file(root, name)[1]


def listed_files(path: str | os.PathLike[str], *, name: str = MANIFEST_NAME) -> tuple[str, ...]:
    """Return the names of the files that a folder's manifest, or its draft, lists, whatever else it says."""
    return tuple(_listed_files(read_manifest(path, name=name, ours=True), Path(path) / name))


def read_finished(path: str | os.PathLike[str], *, ours: bool = False) -> "Manifest":
    """Read the manifest of a folder from which nothing has gone: it outlives the weights when a removal dies.

    Args:
      path: the folder.
      ours: as in ``read_manifest``.
    Returns: the manifest.
    Raises:  as ``read_manifest``; BadManifest also where a file is missing that it lists, or weights are cut.
    """
    where = Path(path) / MANIFEST_NAME
    manifest = read_manifest(path, ours=ours)
    for name, (size, *_) in _listed_files(manifest, where).items():
        file = Path(path) / name
        if not file.is_file() or (name.endswith(".safetensors") and file.stat().st_size != size):
            remedy = "make the folder again, with --overwrite"
            raise BadManifest(f"{name}, which it lists, is missing or cut", where=where, remedy=remedy)
    return manifest


def _listed_files(manifest: "Manifest", where: Path) -> dict[str, tuple[int, str, str]]:
    """Return name -> (bytes, hash, digest); BadManifest when the list is missing or a name is not plain."""
    remedy = "use the folder as mergebarrier wrote it"
    try:
        files = manifest["content"]["output"]["files"]
        listed = {
            str(name): (
                int(entry["size_bytes"]),
                *((BLAKE3, entry["blake3"]) if "blake3" in entry else (SHA256, entry["sha256"])),
            )
            for name, entry in files.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise BadManifest("the list of output files is missing or malformed", where=where, remedy=remedy) from fault
    for name in listed:
        if not _FILE_NAME.fullmatch(name):
            raise BadManifest(f"{clean(name)!r} is not a plain file name", where=where, remedy=remedy)
    return listed


def _hash_file(root: Path, name: str) -> tuple[int, str]:
    fd, _ = open_regular(root, name)
    try:
        size, chain = os.fstat(fd).st_size, hashlib.sha256()
        view = memoryview(bytearray(min(size, _BLOCK_BYTES)))
        for start in range(0, size, _BLOCK_BYTES):
            part = view[: min(_BLOCK_BYTES, size - start)]
            read_into(fd, start, part, root / name)
            chain.update(part)
    finally:
        os.close(fd)
    return size, chain.hexdigest()


def _hash_weights(root: Path, name: str) -> tuple[int, str]:
    fd, _ = open_regular(root, name)
    try:
        size, length = os.fstat(fd).st_size, bytearray(8)
        read_into(fd, 0, memoryview(length), root / name)
        n_bytes = int.from_bytes(length, "little")
        check_header_size(n_bytes, size, where=root / name)
        before = bytearray(8 + n_bytes)
        read_into(fd, 0, memoryview(before), root / name)
        header = validate_header(bytes(before[8:]), size, where=root / name)
        infos = [
            TensorInfo(e.name, e.dtype, e.shape, name, header.payload_start + e.begin, header.payload_start + e.end)
            for e in header.entries
        ]
        digests = [hash_tensor(fd, i, where=name, check_values=False, hashing=BLAKE3) for i in infos]
    finally:
        os.close(fd)
    return size, shard_digest(before, digests)
