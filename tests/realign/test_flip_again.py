"""MergeBarrier's attention part falls from the file alone: no key, no base."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import MethodRefused
from mergebarrier.protect import MergeBarrier
from mergebarrier.realign import FlipAgain


@pytest.mark.parametrize("fraction", [0.25, 0.5])
@pytest.mark.parametrize("name", ["llama-gqa-untied", "gpt2-tied"])
def test_it_undoes_the_flips_without_key_and_base(name, fraction, tmp_path, run_cli):
    model = tiny_models.save(name, tmp_path / "model")
    with open_checkpoint(model) as source:
        verbs.protect(source, MergeBarrier(flip_fraction=fraction), None, verbs.OutputOptions(tmp_path / "out"))
    words = ("--method", "flip_again", "--flip-fraction", fraction, "--quiet")
    assert run_cli("realign", tmp_path / "out", "-o", tmp_path / "back", *words).exit_code == 0
    before, flipped, after = (load_file(tmp_path / side / "model.safetensors") for side in ("model", "out", "back"))
    assert any(not torch.equal(before[n], flipped[n]) for n in before)
    for n in before:
        torch.testing.assert_close(after[n], before[n], rtol=0, atol=0 if "llama" in name else 1e-6)


def test_a_method_that_needs_the_base_says_so_and_one_that_does_not_asks_for_heads(tmp_path, run_cli):
    model = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    ran = run_cli("realign", model, "-o", tmp_path / "out")
    assert ran.exit_code == 64 and "--base" in ran.stderr and not (tmp_path / "out").exists()
    with open_checkpoint(model) as source, pytest.raises(MethodRefused, match="queries"):
        FlipAgain().fit(_without_heads(source), source, source)


def _without_heads(source):
    found = describe(source)
    return replace(found, circuits=tuple(one for one in found.circuits if one.kind != "attn"))
