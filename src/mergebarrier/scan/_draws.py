"""Random numbers that belong to a seed and a label, never to the moment they are drawn at.

    key = SHA-256("scan" | seed | label)[:16];   uniform = 53 high bits of Philox4x64 * 2^-53

Source: Salmon et al., SC 2011 (Philox).  Differs: nothing.
"""

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


def uniform(seed: int, label: str, shape: tuple[int, ...]) -> Tensor:
    """Return Float32[Tensor, "*shape"], uniform on [0, 1)."""
    words = _words(seed, label, math.prod(shape)) >> np.uint64(11)
    return torch.from_numpy(words.astype(np.float64) * 2.0**-53).float().reshape(shape)


def integers(seed: int, label: str, shape: tuple[int, ...], below: int) -> Tensor:
    """Return Int64[Tensor, "*shape"], uniform on 0 .. below - 1 (bias under 2^-40 for what is drawn here)."""
    words = _words(seed, label, math.prod(shape)) >> np.uint64(1)
    return torch.from_numpy(words.astype(np.int64) % below).reshape(shape)


def _words(seed: int, label: str, n: int) -> "NDArray[np.uint64]":
    key = int.from_bytes(hashlib.sha256(f"scan|{seed}|{label}".encode()).digest()[:16], "little")
    return np.asarray(np.random.Philox(key=key).random_raw(n), dtype=np.uint64)
