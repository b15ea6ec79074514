"""Random numbers that belong to an element, not to a moment: draw i of a key is the same in every run.

    key = SHA-256(le64(seed) | method | 0 | le32(model position) | tensor name)[:16]
    draw_i = 16-bit lane i mod 16 of the Philox4x64 block of counter i div 16

Philox is counter-based, so any stretch can be drawn alone: block size, order, workers and shards never change a byte.
Bernoulli(p) compares the 16-bit draw with round(65536 p); mergekit's global stream depends on graph order instead.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

LEVELS = 1 << 16
_LANES = 16


def stream_key(seed: int, method: str, position: int, name: str) -> int:
    """Derive the 128-bit Philox key of one tensor of one model."""
    text = seed.to_bytes(8, "little") + method.encode() + b"\0" + position.to_bytes(4, "little") + name.encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "little")


def draws(key: int, start: int, stop: int) -> NDArray[np.int16]:
    """Return the draws of flat indices ``start..stop``, uniform on the 65536 values of int16."""
    first = start // _LANES
    blocks = -(-stop // _LANES) - first
    words = np.random.Philox(key=key, counter=first).random_raw(4 * blocks)
    lanes = words.astype("<u8", copy=False).view("<i2").astype(np.int16, copy=False)
    return lanes[start - first * _LANES : stop - first * _LANES]


def levels(density: float) -> int:
    """Return how many of the 65536 values keep an entry: at least one when ``density`` > 0."""
    return max(round(density * LEVELS), 1 if density > 0 else 0)
