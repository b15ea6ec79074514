"""Random numbers by position: draw i of a key is the same in every run.

    key = SHA-256(le64(seed) | method | 0 | le32(model position) | tensor name)[:16]
    draw_i = 16-bit lane i mod 8 of AES-128(key, counter i div 8)
    bit_i = [u_i < p],  p = 0.d_1 .. d_16 in binary,  not (digit j of u_i) = bit i of AES-128(key, 2^64 (j - 1) + ..)

A counter is encrypted, so any stretch can be drawn alone: block size, order, workers and shards never change a byte.
Bits are compared packed, from the last digit that is 1 to the first, so p = 1/2 costs one random bit an entry. p is
rounded to 16 bits; mergekit's global stream depends on graph order instead.

Source: counter-based generators, Salmon et al., SC 2011, whose first member (ARS) is AES too. Differs: all ten rounds,
as in NIST SP 800-38A, since processors do them faster than numpy does the Philox of that paper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from mergebarrier.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


LEVELS = 1 << 16
_DIGITS = 16
_LANES = 8
_BLOCK_BYTES = 16
PIECE_BYTES = 1 << 16  # drawn at a time, so that all digits of a piece meet in the cache


def stream_key(seed: int, method: str, position: int, name: str) -> bytes:
    """Derive the 128-bit key of one tensor of one model."""
    text = seed.to_bytes(8, "little") + method.encode() + b"\0" + position.to_bytes(4, "little") + name.encode()
    return hashlib.sha256(text).digest()[:_BLOCK_BYTES]


def draws(key: bytes, start: int, stop: int) -> NDArray[np.int16]:
    """Return the draws of flat indices ``start..stop``, uniform on the 65536 values of int16."""
    first = start // _LANES
    blocks = -(-stop // _LANES) - first
    lanes = np.frombuffer(_stream(key, first)(bytes(blocks * _BLOCK_BYTES)), "<i2").astype(np.int16, copy=False)
    return lanes[start - first * _LANES : stop - first * _LANES]


def bits(
    key: bytes, size: int, set_levels: int, *, start: int = 0, piece_bytes: int = PIECE_BYTES
) -> NDArray[np.uint8]:
    """Return ``size`` bits, eight to a byte and the first one highest, each 1 with probability ``set_levels`` / 65536.

    The first one is bit ``start`` of the key. Bits of the last byte that are beyond ``size`` mean nothing.
    """
    if before := start % (8 * _BLOCK_BYTES):
        whole = np.unpackbits(bits(key, before + size, set_levels, start=start - before))
        return np.packbits(whole[before : before + size])
    lowest, first = (set_levels & -set_levels).bit_length() - 1, start // (8 * _BLOCK_BYTES)
    planes = [
        (
            np.bitwise_or if set_levels >> place & 1 else np.bitwise_and,
            _stream(key, (_DIGITS - 1 - place << 64) + first),
        )
        for place in range(lowest, _DIGITS)
    ]
    packed = np.full(-(-size // 8), 0 if planes else 255, np.uint8)
    zeros = bytes(min(piece_bytes, len(packed)))
    for start in range(0, len(packed), piece_bytes):
        piece = packed[start : start + piece_bytes]
        for combine, stream in planes:
            combine(piece, np.frombuffer(stream(zeros[: len(piece)]), np.uint8), out=piece)
    return packed


def _stream(key: bytes, counter: int) -> Callable[[bytes], bytes]:
    """Return what encrypts zeros to the random bytes that follow a counter."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.CTR(counter.to_bytes(_BLOCK_BYTES, "big"))).encryptor().update


def levels(density: float) -> int:
    """Return how many of the 65536 values keep an entry: at least one when ``density`` > 0."""
    return max(round(density * LEVELS), 1 if density > 0 else 0)
