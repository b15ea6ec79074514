"""Block formats are those of the reference, bit for bit; every format is near, and nearer with more bits."""

import gguf
import pytest
import torch
from gguf.quants import dequantize, quantize

from mergebarrier.evaluate import FORMATS

KINDS = {"GGUF Q8_0": gguf.GGMLQuantizationType.Q8_0, "GGUF Q4_0": gguf.GGMLQuantizationType.Q4_0}


def rows(seed: int, *shape: int) -> torch.Tensor:
    weights = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    weights[0] = 0
    weights[-1, :4] = torch.tensor([30.0, -30.0, 0.5, -0.5])
    return weights


@pytest.mark.parametrize("name", KINDS)
def test_blocks_are_those_of_the_reference(name) -> None:
    weights = torch.cat([rows(1, 40, 256), 1e-4 * rows(2, 8, 256), 50 * rows(3, 8, 256)])
    theirs = dequantize(quantize(weights.numpy(), KINDS[name]), KINDS[name])
    assert torch.equal(FORMATS[name](weights), torch.from_numpy(theirs))


def test_more_bits_are_nearer_and_a_row_without_whole_blocks_is_float16() -> None:
    weights = rows(4, 20, 256)
    order = ("float16", "bfloat16", "int8, groups of 128", "int4, groups of 32")
    lost = [float((FORMATS[name](weights) - weights).norm()) for name in order]
    assert 0 < lost[0] < lost[1] < lost[2] < lost[3] < 0.15 * float(weights.norm())
    odd = rows(5, 4, 40)
    assert torch.equal(FORMATS["GGUF Q4_0"](odd), odd.half().float())


@pytest.mark.parametrize("name", ["int8, groups of 128", "int4, groups of 32"])
def test_what_is_left_of_a_row_is_a_group_too(name) -> None:
    size = int(name.rpartition(" ")[2])
    weights = rows(6, 4, 4 * size + 7)
    rounded, alone = FORMATS[name](weights), FORMATS[name](weights[:, 4 * size :])
    assert torch.equal(rounded[:, 4 * size :], alone) and not torch.equal(alone, weights[:, 4 * size :])
    assert torch.equal(rounded[:, : 4 * size], FORMATS[name](weights[:, : 4 * size]))
