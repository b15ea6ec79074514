"""From one secret to any number of independent byte streams.

A key is 32 random bytes; every circuit and purpose gets its own sub-key, bound to the content of the model, so that two
models under one key share no transform and any worker can derive its part alone.  The stream behind a sub-key is
counter-mode SHAKE-256.  On disk it is a small file that only its owner can read: one that others may read is refused as
ssh refuses it, and a file is never overwritten and never written into a model folder, where it would be published.

    sub-key = HKDF-SHA256(key, salt = content digest of the input, info =
    "mergebarrier/<method>/v1/<circuit>/<purpose>") block i = SHAKE-256(sub-key || u64le(i)), 1 MiB long
    FILE.mbkey = {"algorithm": "hkdf-sha256", "key": 64 hex digits, "key_id": SHA-256("id" + key)[:16], "version": 1}

Source: RFC 5869 (HKDF), FIPS 202 (SHAKE).  An adversary who knows the input weights learns the transform from the
output; the key gives reversibility, not secrecy of a linear map.
"""

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mergebarrier.checkpoint import canonical_json
from mergebarrier.checkpoint.bytes import open_regular, parse_bounded, read_into, write_at
from mergebarrier.errors import BadKey, NotACheckpoint, OutputExists, UnsafePath, refused_by_system

KEY_BYTES = 32
_MAX_FILE_BYTES = 64 * 2**10
_FIELDS = {"version", "algorithm", "key_id", "key"}
_HEX = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1 << 20


class KeyStream:
    """A deterministic byte stream; ``take(n)`` returns the next ``n`` bytes."""

    def __init__(self, subkey: bytes) -> None:
        """Start at the first byte of the stream that belongs to ``subkey`` (32 bytes)."""
        self._subkey = subkey
        self._position = 0
        self._block, self._squeezed = 0, b""

    def take(self, n_bytes: int) -> bytes:
        """Return the next ``n_bytes`` bytes."""
        start, self._position = self._position, self._position + n_bytes
        pieces = []
        while start < self._position:
            block, offset = divmod(start, _BLOCK_BYTES)
            length = min(_BLOCK_BYTES - offset, self._position - start)
            pieces.append(self._upto(block, offset + length)[offset : offset + length])
            start += length
        return b"".join(pieces)

    def _upto(self, block: int, n_bytes: int) -> bytes:
        """Return at least the first ``n_bytes`` of a block; hashlib cannot continue a squeeze, so it doubles."""
        if block != self._block or n_bytes > len(self._squeezed):
            length = min(_BLOCK_BYTES, max(2 * n_bytes, 256))
            self._squeezed = hashlib.shake_256(self._subkey + block.to_bytes(8, "little")).digest(length)
            self._block = block
        return self._squeezed


Streams = Callable[[str, str], KeyStream]
#: A key that is given where the name of its file belongs: in hex, in base64, in PEM.
_KEY_ITSELF = re.compile(r"(?:0x)?[0-9a-fA-F]{64}|[\w+/-]{43}=?|.*PRIVATE KEY.*", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Key:
    """The owner's secret.

    Args:
      secret: 32 bytes; never printed, never pickled, never written into a model folder.
    Raises: BadKey when the length is wrong.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check the length."""
        if len(self.secret) != KEY_BYTES:
            raise BadKey(
                f"a key has {KEY_BYTES} bytes, this one has {len(self.secret)}",
                remedy="use a key file that `protect` made",
            )

    def __reduce__(self) -> str:
        """Refuse to be pickled: a key must not travel into a task or a log by accident."""
        raise BadKey("a key cannot be pickled", remedy="derive streams where the key is held")

    @property
    def id(self) -> str:
        """Public name of the key: the first 16 hex digits of SHA-256("id" + secret)."""
        return key_id(self.secret)

    def subkey(self, salt: bytes, label: str) -> bytes:
        """Return the 32 bytes HKDF-SHA256(secret, salt, info=label)."""
        extracted = hmac.digest(salt, self.secret, "sha256")
        return hmac.digest(extracted, label.encode() + b"\x01", "sha256")

    def streams(self, content_digest: str, method: str) -> Streams:
        """Bind the key to one input and one method.

        Args:
          content_digest: hex SHA-256 of the input model's content.
          method:         name of the protection.
        Returns: ``(circuit, purpose) -> KeyStream``, each stream from its beginning.
        """
        salt = bytes.fromhex(content_digest)
        return lambda circuit, purpose: KeyStream(self.subkey(salt, f"mergebarrier/{method}/v1/{circuit}/{purpose}"))

    def seal(self, content: bytes) -> dict[str, str]:
        """Return what vouches for the content of a manifest: that the holder of this key wrote it."""
        subkey = self.subkey(b"manifest", "mergebarrier/manifest/v1/seal")
        return {"key_id": self.id, "hmac_sha256": hmac.digest(subkey, content, "sha256").hex()}

    def vouches(self, content: bytes, code: str) -> bool:
        """Say whether ``seal`` gives this code for this content."""
        return hmac.compare_digest(code.encode(), self.seal(content)["hmac_sha256"].encode())


def key_id(key: bytes) -> str:
    """Public name of a key: the first 16 hex digits of SHA-256("id" + key)."""
    return hashlib.sha256(b"id" + key).hexdigest()[:16]


def check_key_place(path: Path) -> None:
    """Raise BadKey for a place in a model folder, or anywhere below one: the key would be published with the model."""
    folder = path.parent.resolve()
    for above in (folder, *folder.parents):
        config = above == folder and (above / "config.json").exists()
        if config or any(next(above.glob(pattern), None) for pattern in ("*.safetensors", "*.safetensors.index.json")):
            raise BadKey(
                f"{above} is a model folder, so the key would be published with the model",
                where=path,
                remedy="keep the key elsewhere",
            )


def _check_is_name(path: Path) -> None:
    """Raise BadKey, without the word, for a key where the name of its file belongs."""
    if _KEY_ITSELF.fullmatch(path.name) or _KEY_ITSELF.fullmatch(str(path)):
        what = "this looks like a key itself, which would stand in the history of a shell"
        raise BadKey(what, where="--key", remedy="give the name of the key file, and make a new key") from None


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
    _check_is_name(path)
    check_key_place(path)
    document = {"version": 1, "algorithm": "hkdf-sha256", "key_id": key_id(key), "key": key.hex()}
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as fault:
        raise OutputExists(
            "the key file exists, and keys are never overwritten", where=path, remedy="choose another name"
        ) from fault
    except OSError as fault:
        absent = BadKey(f"cannot be created ({fault.strerror})", where=path, remedy="choose a folder that exists")
        raise refused_by_system(fault, path) or absent from fault
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
        _check_is_name(path)
        raise BadKey("there is no such key file", where=path, remedy="give the file that `protect` made") from fault
    except UnsafePath as fault:
        raise UnsafePath(fault.what, where=path, remedy="give the key file itself, no link out and no pipe") from fault
    try:
        status = os.fstat(fd)
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadKey(
                f"mode {stat.S_IMODE(status.st_mode):04o} lets others read the key",
                where=path,
                remedy="run `chmod 600` on it",
            )
        if status.st_size > _MAX_FILE_BYTES:
            raise bad(f"{status.st_size} bytes, the cap is {_MAX_FILE_BYTES}")
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
