"""Widening: other shapes, the same function, on the way there and back; and what it refuses."""

import json

import pytest
import torch

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MethodRefused
from mergebarrier.protect import Widen


def test_key_heads_grow_and_come_back(tmp_path, protect, unprotect):
    folder = tiny_models.save("llama-gqa-untied", tmp_path / "model", dtype=torch.float64)
    out = protect(folder, Widen(key_heads=3))
    config = json.loads((out / "config.json").read_text())
    assert config["num_key_value_heads"] == 6 and config["intermediate_size"] == 256
    sides = [tiny_models.logits(side, exact_norms=True) for side in (out, folder)]
    assert tiny_models.relative_error(*sides) < 1e-9
    with open_checkpoint(unprotect(out)) as back, open_checkpoint(folder) as original:
        assert back.config["num_key_value_heads"] == 2
        for name in original.tensors:
            torch.testing.assert_close(back.read(name), original.read(name), rtol=1e-12, atol=1e-12)


def test_every_layer_is_as_wide_and_a_multiple_of_256(tmp_path, protect):
    out = protect(tiny_models.save("llama-gqa-untied", tmp_path / "model"), Widen(share=3.0))
    with open_checkpoint(out) as opened:
        shapes = {opened.tensors[name].shape for name in opened.tensors if "up_proj" in name}
    assert shapes == {(512, 48)}


@pytest.mark.parametrize(("name", "heads"), [("llama-gqa-untied", 2), ("gpt2-tied", 2)])
def test_key_heads_that_cannot_be_made_are_refused(name, heads, tmp_path, protect):
    folder = tiny_models.save(name, tmp_path / "model")
    with pytest.raises(MethodRefused) as refused:
        protect(folder, Widen(key_heads=heads))
    assert refused.value.where == "--key-heads"
