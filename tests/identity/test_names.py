"""Two spellings of one model are one model: prefixes, old names of norms, experts in one tensor or in many."""

import pytest
import torch

import family_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.identity import FitRules, finder, fit, spelled_like, unwrapped
from spellings import without_prefix

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


def test_what_wrappers_of_training_put_into_names_is_left_out(save) -> None:
    names = {
        "module._orig_mod.lm_head.weight": "lm_head.weight",
        "module._orig_mod.model.layers.0._checkpoint_wrapped_module.mlp.up_proj.weight": (
            "model.layers.0.mlp.up_proj.weight"
        ),
        "module._orig_mod._fsdp_wrapped_module.model.norm.weight": "model.norm.weight",
    }
    tensors = {name: torch.full((2,), float(i)) for i, name in enumerate(names)}
    with (
        open_checkpoint(save("wrapped", tensors)) as stored,
        open_checkpoint(save("plain", {"a.module.b": torch.ones(2)})) as plain,
    ):
        found = unwrapped(stored)
        assert {name: found.read(name).tolist() for name in found.tensors} == {
            plain: tensors[name].tolist() for name, plain in names.items()
        }
        assert unwrapped(plain) is plain


def test_two_models_with_wrappers_in_their_names_are_written_without(save, tmp_path, run_cli) -> None:
    from safetensors.torch import load_file

    folders = [
        save(name, {"_orig_mod.model.norm.weight": torch.full((2,), value)}) for name, value in (("a", 1.0), ("b", 3.0))
    ]
    assert run_cli("merge", *folders, "--method", "linear", "-o", tmp_path / "out").exit_code == 0
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in written.items()} == {"model.norm.weight": [2.0, 2.0]}


@pytest.mark.parametrize("name", ["llama", "bert", "roberta", "distilbert", "vit", "gpt2", "mixtral"])
def test_a_part_that_was_trained_without_the_class_around_it_is_found(name, tmp_path) -> None:
    with open_checkpoint(family_models.save(name, tmp_path / "base")) as base:
        find, short = finder(base), without_prefix(dict.fromkeys(base.tensors, torch.ones(1)))
        found = {find(f"{prefix}{one}") for one in short for prefix in ("", "model.")}
        assert found == set(base.tensors) and short.keys() != base.tensors.keys()
