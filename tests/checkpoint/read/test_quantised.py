"""What is quantised, or left over from it, is refused by the tensor or the key, and honest floats are read."""

import pytest
import torch

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadDtype

MATRIX = {"q.weight": torch.ones(4, 4), "position_ids": torch.arange(4)[None]}
BYTES = torch.zeros(4, 4, dtype=torch.uint8)
PARTS = {
    "bitsandbytes": ("q.weight.quant_state.bitsandbytes__nf4", BYTES),
    "absmax": ("q.weight.absmax", torch.ones(4)),
    "GPTQ": ("q.qweight", BYTES.int()),
    "HQQ": ("q.W_q", BYTES),
    "MXFP4": ("experts.gate_up_proj_blocks", BYTES),
    "FP8": ("q.weight_scale_inv", torch.ones(1, 1)),
    "compressed-tensors": ("q.weight_packed", BYTES.int()),
}


@pytest.mark.parametrize("case", PARTS)
def test_a_part_of_a_quantised_matrix_is_named(case, save) -> None:
    name, tensor = PARTS[case]
    with pytest.raises(BadDtype, match=f"tensor '{name}': it is part of a quantised matrix"):
        open_checkpoint(save("m", {**MATRIX, name: tensor}, model_type="toy"))


@pytest.mark.parametrize("nested", [False, True])
def test_a_key_that_is_left_over_is_named_in_whatever_table(nested, save) -> None:
    left = {"quantization_config": {"quant_method": "fp8"}}
    with pytest.raises(BadDtype, match="left over from a quantised parent") as refused:
        open_checkpoint(save("m", MATRIX | {"position_ids": torch.ones(4)}, model_type="toy",
                             **({"text_config": left} if nested else left)))  # fmt: skip
    assert "remove quantization_config" in refused.value.remedy


def test_floats_whose_names_are_like_it_are_read(save) -> None:
    tensors = {**MATRIX, "attn.W_q": torch.ones(4, 4), "net_blocks": torch.ones(4, 4), "attn.k_scale": torch.ones(1)}
    with open_checkpoint(save("m", tensors, model_type="toy")) as model:
        assert len(model.tensors) == len(tensors)
