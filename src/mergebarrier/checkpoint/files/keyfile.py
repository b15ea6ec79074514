"""The key file: 32 secret bytes on disk that only their owner can read.

    {"algorithm": "hkdf-sha256", "key": 64 hex digits, "key_id": SHA-256("id" + key)[:16], "version": 1}

Source: ours (``*.mbkey``).  A file that others may read is refused as ssh refuses it; a file is never overwritten and
never written into a model folder, where it would be published with the weights.
"""

import hashlib
import os
import re
import stat
from pathlib import Path

from mergebarrier.checkpoint.bytes import open_regular, parse_bounded, read_into, write_at
from mergebarrier.checkpoint.files.manifest import canonical_json
from mergebarrier.errors import BadKey, NotACheckpoint, OutputExists

KEY_BYTES = 32
_MAX_BYTES = 64 * 2**10
_FIELDS = {"version", "algorithm", "key_id", "key"}
_HEX = re.compile(r"[0-9a-f]{64}")


def key_id(key: bytes) -> str:
    """Public name of a key: the first 16 hex digits of SHA-256("id" + key)."""
    return hashlib.sha256(b"id" + key).hexdigest()[:16]


def write_key_file(path: str | os.PathLike[str], key: bytes) -> None:
    """Write a new key file with mode 0600.

    Args:
      path: a file that does not exist, outside any model folder.
      key:  32 bytes.
    Raises: OutputExists when the file exists; BadKey for a wrong length or a place inside a model folder.
    """
    path = Path(path)
    if len(key) != KEY_BYTES:
        raise BadKey(f"a key has {KEY_BYTES} bytes, this one has {len(key)}", where=path, remedy="make a new key")
    folder = path.parent
    if (folder / "config.json").exists() or any(folder.glob("*.safetensors")):
        raise BadKey(
            "this is a model folder, and the key would be published with it",
            where=path,
            remedy="keep the key elsewhere",
        )
    document = {"version": 1, "algorithm": "hkdf-sha256", "key_id": key_id(key), "key": key.hex()}
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as fault:
        raise OutputExists(
            "the key file exists, and keys are never overwritten", where=path, remedy="choose another name"
        ) from fault
    except OSError as fault:
        raise BadKey(f"cannot be made ({fault.strerror})", where=path, remedy="choose a folder that exists") from fault
    try:
        write_at(fd, 0, memoryview(canonical_json(document)), path)
        os.fsync(fd)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def read_key_file(path: str | os.PathLike[str]) -> bytes:
    """Read a key file.

    Args:
      path: the file; a regular file that group and others cannot read.
    Returns: 32 bytes.
    Raises:  BadKey (missing, readable by others, malformed, key and key_id disagree); UnsafePath for links out.
    """
    path = Path(path)

    def bad(what: str) -> BadKey:
        return BadKey(what, where=path, remedy="use the key file as mergebarrier wrote it")

    try:
        fd, _ = open_regular(path.parent.resolve(), path.name)
    except NotACheckpoint as fault:
        raise BadKey("there is no such key file", where=path, remedy="give the file that `protect` made") from fault
    try:
        status = os.fstat(fd)
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadKey(
                f"mode {stat.S_IMODE(status.st_mode):04o} lets others read the key",
                where=path,
                remedy="run `chmod 600` on it",
            )
        if status.st_size > _MAX_BYTES:
            raise bad(f"{status.st_size} bytes, the cap is {_MAX_BYTES}")
        text = bytearray(status.st_size)
        read_into(fd, 0, memoryview(text), path)
    finally:
        os.close(fd)
    document = parse_bounded(bytes(text), bad, max_depth=2, max_values=16, where=path, remedy="use another key file")
    if not isinstance(document, dict) or document.keys() != _FIELDS:
        raise bad("not a table of version, algorithm, key_id and key")
    if document["version"] != 1 or document["algorithm"] != "hkdf-sha256":
        raise bad("an unknown version or algorithm")
    if not isinstance(document["key"], str) or not _HEX.fullmatch(document["key"]):
        raise bad("the key is not 64 hex digits")
    key = bytes.fromhex(document["key"])
    if document["key_id"] != key_id(key):
        raise bad("key and key_id disagree")
    return key
