"""From one secret to any number of independent byte streams.

A key is 32 random bytes; every circuit and purpose gets its own sub-key, bound to the content of the model, so that two
models under one key share no transform and any worker can derive its part alone.  The stream behind a sub-key is
counter-mode SHAKE-256.

    sub-key = HKDF-SHA256(key, salt = content digest of the input, info =
    "mergebarrier/<method>/v1/<circuit>/<purpose>") block i = SHAKE-256(sub-key || u64le(i)), 1 MiB long

Source: RFC 5869 (HKDF), FIPS 202 (SHAKE).  An adversary who knows the input weights learns the transform from the
output; the key gives reversibility, not secrecy of a linear map.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from mergebarrier.errors import BadKey

KEY_BYTES = 32
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
        return hashlib.sha256(b"id" + self.secret).hexdigest()[:16]

    def subkey(self, salt: bytes, label: str) -> bytes:
        """Return the 32 bytes HKDF-SHA256(secret, salt, info=label)."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), 32, salt=salt, info=label.encode()).derive(self.secret)

    def streams(self, content_digest: str, method: str) -> Streams:
        """Bind the key to one input and one method.

        Args:
          content_digest: hex SHA-256 of the input model's content.
          method:         name of the protection.
        Returns: ``(circuit, purpose) -> KeyStream``, each stream from its beginning.
        """
        salt = bytes.fromhex(content_digest)
        return lambda circuit, purpose: KeyStream(self.subkey(salt, f"mergebarrier/{method}/v1/{circuit}/{purpose}"))
