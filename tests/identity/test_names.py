"""Two spellings of one model are one model: prefixes, old names of norms, experts in one tensor or in many."""

import torch

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.identity import FitRules, fit, spelled_like

_STEM = "model.layers.0.mlp.experts"


def test_experts_in_one_tensor_are_read_one_by_one_and_back(save) -> None:
    one = torch.arange(2 * 6 * 4, dtype=torch.float32).reshape(2, 6, 4)
    parts = {f"{_STEM}.{e}.{word}.weight": one[e, 3 * j : 3 * j + 3].clone() for e in range(2)
             for j, word in enumerate(("gate_proj", "up_proj"))}  # fmt: skip
    with (
        open_checkpoint(save("one", {f"{_STEM}.gate_up_proj": one})) as fused,
        open_checkpoint(save("many", parts)) as split,
    ):
        apart, together = spelled_like(split, fused), spelled_like(fused, split)
        assert all(apart.read(name).equal(tensor) for name, tensor in parts.items())
        assert together.read(f"{_STEM}.gate_up_proj").equal(one)
        assert together.read_rows(f"{_STEM}.gate_up_proj", 1, 2).equal(one[1:])


def test_a_prefix_and_old_names_of_norms_are_no_difference(save) -> None:
    new = {"bert.encoder.LayerNorm.weight": torch.ones(2), "bert.encoder.dense.weight": torch.ones(2, 2)}
    old = {"encoder.LayerNorm.gamma": torch.ones(2), "encoder.dense.weight": torch.ones(2, 2)}
    with (
        open_checkpoint(save("new", new, model_type="x")) as donor,
        open_checkpoint(save("old", old, model_type="x")) as other,
    ):
        found = fit([donor, other], FitRules())
        assert found.models[1].tensors.keys() == new.keys()
        assert any("otherwise" in note for note in found.notes)
