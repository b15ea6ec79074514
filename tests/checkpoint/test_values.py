"""No value that is not finite passes, wherever a buffer happens to end."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergebarrier.checkpoint import TensorInfo
from mergebarrier.checkpoint._dtypes import TORCH
from mergebarrier.checkpoint._values import ValueCheck, check_finite
from mergebarrier.errors import BadDtype, NonFinite
from model_folders import payload

FLOATS = ("BF16", "F16", "F32", "F64")
BAD = (float("nan"), float("inf"), float("-inf"))


def check(tensor: torch.Tensor, dtype: str, cuts: list[int]) -> None:
    info = TensorInfo("t", dtype, tuple(tensor.shape), "s", 0, tensor.nbytes)
    data, values = bytearray(payload(tensor)), ValueCheck(info, "s: tensor 't'")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in pairwise(edges):
        values.feed(memoryview(data)[begin:end])


@given(st.sampled_from(FLOATS), st.lists(st.integers(0, 800), max_size=9), st.integers(0, 99), st.sampled_from(BAD))
def test_a_bad_value_is_found_however_the_payload_is_cut(dtype: str, cuts: list[int], at: int, value: float) -> None:
    tensor = (torch.arange(100) - 50).to(TORCH[dtype])
    check(tensor, dtype, cuts)
    tensor[at] = value
    with pytest.raises(NonFinite, match="tensor 't'"):
        check(tensor, dtype, cuts)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("at", [0, 29_999, 30_000, 70_000])
def test_a_bad_value_is_found_in_any_piece(dtype: str, value: float, at: int) -> None:
    tensor = torch.ones(70_001, dtype=TORCH[dtype])
    check(tensor, dtype, [])
    check_finite(tensor, dtype, where="t", remedy="none")
    tensor[at] = value
    with pytest.raises(NonFinite):
        check(tensor, dtype, [])
    with pytest.raises(NonFinite, match="1 of 70001"):
        check_finite(tensor, dtype, where="t", remedy="none")


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_and_the_smallest_finite_values_pass(dtype: str) -> None:
    limits = torch.finfo(TORCH[dtype])
    tensor = torch.tensor([limits.max, limits.min, limits.tiny, limits.smallest_normal / 2, -0.0], dtype=TORCH[dtype])
    check(tensor, dtype, [3])


def test_masks_hold_zeros_and_ones() -> None:
    check(torch.tensor([True, False]), "BOOL", [1])
    with pytest.raises(BadDtype, match="7"):
        check(torch.tensor([0, 1, 7], dtype=torch.uint8), "BOOL", [1])


def test_integers_may_be_anything() -> None:
    check(torch.full((9,), 0x7F80, dtype=torch.int16), "I16", [3])
