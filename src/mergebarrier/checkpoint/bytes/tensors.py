"""What is known about a tensor before a byte of it is read: name, dtype, shape and place.

    nbytes = end - begin = prod(shape) * itemsize

Positions are absolute in the shard's file, so a reader needs no header.  Source: the safetensors format.
"""

import math
from dataclasses import dataclass

from mergebarrier.checkpoint.bytes.dtypes import itemsize


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
