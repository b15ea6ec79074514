"""What is known about a tensor before a byte of it is read: name, dtype, shape and place; and how values are checked.

    finite  <=>  min and max are finite      (aminmax in the stored dtype; NaN propagates, Inf shows)

Source: IEEE 754; measured, ``aminmax`` on BF16 runs at memory speed.
"""

import math
from dataclasses import dataclass

import torch

from mergebarrier.checkpoint._dtypes import FLOATS, itemsize
from mergebarrier.errors import BadDtype, NonFinite


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in a shard; ``begin`` and ``end`` are absolute byte positions in the shard's file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
        return self.end - self.begin

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Length of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def row_nbytes(self) -> int:
        """Bytes of one index of the first dimension."""
        return math.prod(self.shape[1:]) * itemsize(self.dtype)


@dataclass(frozen=True)
class Shard:
    """One safetensors file; tensors in offset order."""

    name: str
    size_bytes: int
    tensors: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class OutTensor:
    """A tensor to be written; a layout lists them shard by shard in offset order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
        return math.prod(self.shape) * itemsize(self.dtype)


def check_finite(tensor: torch.Tensor, dtype: str, *, where: object, remedy: str) -> None:
    """Raise NonFinite when a float tensor holds NaN or Inf; other dtypes and empty tensors pass."""
    if dtype not in FLOATS or not tensor.numel():
        return
    low, high = torch.aminmax(tensor)
    if not (math.isfinite(low.item()) and math.isfinite(high.item())):
        count = int((~torch.isfinite(tensor)).sum())
        raise NonFinite(f"{count} of {tensor.numel()} values are NaN or Inf", where=where, remedy=remedy)


def check_bool(raw: torch.Tensor, *, where: object) -> None:
    """Raise BadDtype when a BOOL payload (uint8) holds anything but 0 and 1."""
    if raw.numel() and int(raw.max()) > 1:
        raise BadDtype(
            f"a BOOL byte is {int(raw.max())}, only 0 and 1 are legal",
            where=where,
            remedy="save the model again with the safetensors library",
        )
