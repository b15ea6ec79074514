"""Which values a tensor may hold: finite floats, and masks of zeros and ones.

    finite  <=  their sum is;   finite  <=>  min and max are      (in the stored dtype; NaN propagates, Inf shows)

The check runs on what is read, on what is written, and inside the pass that hashes a file, so that a model with one bad
value is refused before anything is written.  Source: IEEE 754.
"""

import math

import torch

from mergebarrier.checkpoint.bytes.dtypes import FLOATS, TORCH
from mergebarrier.errors import BadDtype, NonFinite

CLEAN_WEIGHTS = "download the model again, or ask its author for clean weights"


def check_finite(tensor: torch.Tensor, dtype: str, *, where: object, remedy: str) -> None:
    """Raise NonFinite when a float tensor holds NaN or Inf; other dtypes and empty tensors pass."""
    if dtype not in FLOATS or not tensor.numel():
        return
    if not _finite(tensor):
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


def check_payload(raw: torch.Tensor, dtype: str, *, where: object) -> None:
    """Check a piece of a payload (uint8, whole elements); raises NonFinite or BadDtype."""
    if dtype == "BOOL":
        check_bool(raw, where=where)
    elif dtype in FLOATS and not _finite(raw.view(TORCH[dtype])):
        raise NonFinite("holds NaN or Inf", where=where, remedy=CLEAN_WEIGHTS)


def _finite(tensor: torch.Tensor) -> bool:
    # A finite sum proves that every term is finite, and is cheaper; in half precision sums overflow too easily.
    if tensor.dtype != torch.float16 and math.isfinite(tensor.sum().item()):
        return True
    low, high = torch.aminmax(tensor)
    return math.isfinite(low.item()) and math.isfinite(high.item())
