"""Random numbers of a training run: every draw belongs to a seed and a label, never to a moment.

Words come from a counter-based generator, so nothing depends on what was drawn before or on another library's state.

    key = SHA-256("training|seed|label")[:16];   word_i = Philox(key)_i;   epoch e visits argsort(words of "label|e")

Source: Salmon et al., SC 2011 (Philox).  Differs from torch.Generator: the stream is fixed by a published algorithm.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def words(seed: int, label: str, n: int) -> NDArray[np.uint64]:
    """Return ``n`` raw 64-bit words that belong to a seed and a label."""
    key = int.from_bytes(hashlib.sha256(f"training|{seed}|{label}".encode()).digest()[:16], "little")
    return np.random.Philox(key=key).random_raw(n)


def uniform(seed: int, label: str, *shape: int) -> Tensor:
    """Return Float64[Tensor, "*shape"], uniform on [0, 1), that belongs to a seed and a label."""
    drawn = words(seed, label, int(np.prod(shape, dtype=np.int64)))
    return torch.from_numpy((drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53).view(shape)


def order(n: int, *, seed: int, label: str = "order") -> Iterator[int]:
    """Yield indices below ``n`` without end: a fresh permutation per epoch; ValueError when ``n`` < 1."""
    if n < 1:
        raise ValueError("there is nothing to draw from")
    epoch = 0
    while True:
        yield from np.argsort(words(seed, f"{label}|{epoch}", n), kind="stable").tolist()
        epoch += 1


def batches(n: int, batch_size: int, *, seed: int, label: str) -> Iterator[Tensor]:
    """Yield Int64[Tensor, "batch"] of indices below ``n`` without end; an epoch ends in the middle of a batch.

    Args:
      n:          number of examples, at least one.
      batch_size: of every batch, whatever ``n`` is; at least one.
      seed:       of the run.
      label:      what is drawn; two labels never share a stream.
    Raises: ValueError for a size below one.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}; it must be at least 1")
    stream = order(n, seed=seed, label=label)
    while True:
        yield torch.tensor([next(stream) for _ in range(batch_size)])
