"""No value that is not finite passes, wherever a piece of a payload happens to end."""

import tempfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergebarrier.checkpoint import TensorInfo
from mergebarrier.checkpoint.bytes.io import _BUFFER_BYTES, hash_tensor
from mergebarrier.checkpoint.bytes.tensors import TORCH, check_finite
from mergebarrier.errors import BadDtype, NonFinite
from model_folders import payload

FLOATS = ("BF16", "F16", "F32", "F64")
BAD = (float("nan"), float("inf"), float("-inf"))


def check(tensor: torch.Tensor, dtype: str, before: int = 0) -> None:
    """Hash a tensor that lies behind ``before`` bytes of a file, with the check of its values."""
    info = TensorInfo("t", dtype, tuple(tensor.shape), "s", before, before + tensor.nbytes)
    with tempfile.TemporaryFile() as file:
        file.write(b"\xff" * before + payload(tensor) + b"\xff" * 8)
        file.flush()
        hash_tensor(file.fileno(), info, where="s: tensor 't'", check_values=True)


@given(st.sampled_from(FLOATS), st.integers(0, 80), st.integers(0, 99), st.sampled_from(BAD))
def test_a_bad_value_is_found_wherever_the_payload_begins(dtype: str, before: int, at: int, value: float) -> None:
    tensor = (torch.arange(100) - 50).to(TORCH[dtype])
    check(tensor, dtype, before)
    tensor[at] = value
    with pytest.raises(NonFinite, match="tensor 't'"):
        check(tensor, dtype, before)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", BAD)
def test_a_bad_value_is_found_in_any_piece(dtype: str, value: float) -> None:
    border = _BUFFER_BYTES // TORCH[dtype].itemsize
    tensor = torch.ones(border + 1000, dtype=TORCH[dtype])
    check(tensor, dtype)
    check_finite(tensor, dtype, where="t", remedy="none")
    for at in (0, border - 1, border, len(tensor) - 1):
        tensor[at] = value
        with pytest.raises(NonFinite):
            check(tensor, dtype)
        with pytest.raises(NonFinite, match=f"1 of {len(tensor)}"):
            check_finite(tensor, dtype, where="t", remedy="none")
        tensor[at] = 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_and_the_smallest_finite_values_pass(dtype: str) -> None:
    limits = torch.finfo(TORCH[dtype])
    tensor = torch.tensor([limits.max, limits.min, limits.tiny, limits.smallest_normal / 2, -0.0], dtype=TORCH[dtype])
    check(tensor, dtype)


def test_masks_hold_zeros_and_ones() -> None:
    check(torch.tensor([True, False]), "BOOL")
    with pytest.raises(BadDtype, match="7"):
        check(torch.tensor([0, 1, 7], dtype=torch.uint8), "BOOL")


def test_integers_may_be_anything() -> None:
    check(torch.full((9,), 0x7F80, dtype=torch.int16), "I16")
