"""Random numbers that belong to a seed and a label, so that no draw depends on what was drawn before it.

    key = SHA-256("poison" | seed | label)[:16],   word i = output i of Philox4x64 under that key

The same seed gives the same trigger, the same rows and the same interpolation factors in every run.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def words(seed: int, label: str, n: int) -> NDArray[np.uint64]:
    """Return ``n`` raw 64-bit words."""
    key = int.from_bytes(hashlib.sha256(f"poison|{seed}|{label}".encode()).digest()[:16], "little")
    return np.random.Philox(key=key).random_raw(n)


def uniform(seed: int, label: str, n: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return Float64[Tensor, "n"], uniform on [low, high)."""
    unit = (words(seed, label, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy(low + (high - low) * unit)


def order(seed: int, label: str, n: int) -> Tensor:
    """Return a permutation, Int64[Tensor, "n"]."""
    return torch.from_numpy(np.argsort(words(seed, label, n), kind="stable").astype(np.int64))


def below(seed: int, label: str, n: int, bound: int) -> Tensor:
    """Return Int64[Tensor, "n"], each 0 <= value < bound (the bias of the remainder is below bound / 2^64)."""
    return torch.from_numpy((words(seed, label, n) % np.uint64(bound)).astype(np.int64))
