"""Random numbers that belong to an element, not to a moment: draw i of a key is the same in every run.

    key = SHA-256(le64(seed) | method | 0 | le32(model position) | tensor name)[:16]
    draw_i = 16-bit lane i mod 8 of AES-128(key, counter i div 8)

A counter is encrypted, so any stretch can be drawn alone: block size, order, workers and shards never change a byte.
Bernoulli(p) compares the 16-bit draw with round(65536 p); mergekit's global stream depends on graph order instead.

Source: counter-based generators, Salmon et al., SC 2011, whose first member (ARS) is AES too. Differs: all ten rounds,
as in NIST SP 800-38A, since processors do them faster than numpy does the Philox of that paper.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

LEVELS = 1 << 16
_LANES = 8
_BLOCK_BYTES = 16


def stream_key(seed: int, method: str, position: int, name: str) -> bytes:
    """Derive the 128-bit key of one tensor of one model."""
    text = seed.to_bytes(8, "little") + method.encode() + b"\0" + position.to_bytes(4, "little") + name.encode()
    return hashlib.sha256(text).digest()[:_BLOCK_BYTES]


def draws(key: bytes, start: int, stop: int) -> NDArray[np.int16]:
    """Return the draws of flat indices ``start..stop``, uniform on the 65536 values of int16."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    first = start // _LANES
    blocks = -(-stop // _LANES) - first
    counter = modes.CTR(first.to_bytes(_BLOCK_BYTES, "big"))
    words = Cipher(algorithms.AES(key), counter).encryptor().update(bytes(blocks * _BLOCK_BYTES))
    lanes = np.frombuffer(words, "<i2").astype(np.int16, copy=False)
    return lanes[start - first * _LANES : stop - first * _LANES]


def levels(density: float) -> int:
    """Return how many of the 65536 values keep an entry: at least one when ``density`` > 0."""
    return max(round(density * LEVELS), 1 if density > 0 else 0)
