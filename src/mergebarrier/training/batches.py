"""Random numbers of a training run: every draw depends on a seed and a label, never on the time.

epoch e of a label visits the rows in the order that sorts the words of stream ("training", seed, "label|e")
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from mergebarrier.numerics import draws


def uniform(seed: int, label: str, *shape: int) -> Tensor:
    """Return Float64[Tensor, "*shape"], uniform on [0, 1), that belongs to a seed and a label."""
    return draws.uniform(("training", seed, label), *shape)


def order(n: int, *, seed: int, label: str = "order") -> Iterator[int]:
    """Yield indices below ``n`` without end: a fresh permutation per epoch; ValueError when ``n`` < 1."""
    if n < 1:
        raise ValueError("there is nothing to draw from")
    epoch = 0
    while True:
        yield from draws.order(("training", seed, f"{label}|{epoch}"), n).tolist()
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
