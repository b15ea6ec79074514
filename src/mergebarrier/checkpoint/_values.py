"""Which values a tensor may hold: finite floats, and masks of zeros and ones.

    finite  <=>  min and max are finite      (aminmax in the stored dtype; NaN propagates, Inf shows)

The check runs on what is read, on what is written, and inside the pass that hashes a file, so that a model with one bad
value is refused before anything is written.  Source: IEEE 754; measured, ``aminmax`` on BF16 runs at memory speed.
"""

import math

import torch

from mergebarrier.checkpoint._dtypes import FLOATS, TORCH
from mergebarrier.checkpoint._tensors import TensorInfo
from mergebarrier.errors import BadDtype, NonFinite

# Below torch's grain for splitting a reduction over threads: the number of threads is the caller's business.
_PIECE_ELEMENTS = 30_000
CLEAN_WEIGHTS = "download the model again, or ask its author for clean weights"


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


class ValueCheck:
    """Checks the payload of one tensor that arrives in consecutive pieces of any length.

    Args:
      info:  the tensor.
      where: its file and name, for errors.
    """

    def __init__(self, info: TensorInfo, where: str) -> None:
        """Start before the first byte."""
        self._dtype, self._where = info.dtype, where
        self._rest = b""

    def feed(self, view: memoryview) -> None:
        """Check the next bytes; raises NonFinite or BadDtype."""
        if self._dtype not in FLOATS and self._dtype != "BOOL":
            return
        size = TORCH[self._dtype].itemsize
        if self._rest:
            needed = size - len(self._rest)
            self._rest += bytes(view[:needed])
            view = view[needed:]
            if len(self._rest) < size:
                return
            self._check(memoryview(bytearray(self._rest)))
        whole = len(view) // size * size
        self._rest = bytes(view[whole:])
        self._check(view[:whole])

    def _check(self, view: memoryview) -> None:
        if not len(view):
            return
        raw = torch.frombuffer(view, dtype=torch.uint8)
        if self._dtype == "BOOL":
            check_bool(raw, where=self._where)
            return
        dtype = TORCH[self._dtype]
        aligned = raw if raw.data_ptr() % dtype.itemsize == 0 else raw.clone()
        for piece in aligned.view(dtype).split(_PIECE_ELEMENTS):
            low, high = torch.aminmax(piece)
            if not (math.isfinite(low.item()) and math.isfinite(high.item())):
                raise NonFinite("holds NaN or Inf", where=self._where, remedy=CLEAN_WEIGHTS)
