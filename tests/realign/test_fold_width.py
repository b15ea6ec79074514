"""A widened model folds from the file alone to its old width, and gaugefix finds what is left."""

import pytest
import torch

import family_models
import tiny_models
from family_verbs import KEYS, Family
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import ConfigMismatch, MethodRefused, ShapeMismatch
from mergebarrier.keys import Key
from mergebarrier.merge import make, plan
from mergebarrier.protect import Widen
from mergebarrier.realign import FoldWidth, GaugeFix

FAST = {*((name, 1) for name in ("llama", "gpt2", "mixtral", "phi3", "deepseek")), ("qwen3", 2)}


@pytest.mark.parametrize(
    ("name", "copies"),
    [
        pytest.param(name, copies, marks=[] if (name, copies) in FAST else pytest.mark.slow)
        for name in family_models.MODELS
        for copies in (1, 2)
    ],
)
def test_it_folds_to_the_shapes_that_were_and_keeps_the_function(name, copies, tmp_path):
    family, out = Family(name, tmp_path), tmp_path / "folded"
    try:
        wide = family.protect(family.base, Widen(key_heads=copies), KEYS[0])
    except MethodRefused as refused:
        assert "wide" in str(refused) or (copies > 1 and refused.where == "--key-heads")
        return
    with open_checkpoint(wide) as model:
        verbs.realign(model, None, FoldWidth(), verbs.OutputOptions(out))
    with open_checkpoint(out) as folded, open_checkpoint(family.base) as base:
        assert {n: t.shape for n, t in folded.tensors.items()} == {n: t.shape for n, t in base.tensors.items()}
    assert family.error(out, family.base) < 1e-5


@pytest.mark.parametrize(("name", "copies"), [("llama-gqa-untied", 3), ("llama-mqa-biased", 4)])
def test_key_heads_fold_from_the_file_alone_and_keep_the_function(name, copies, tmp_path, protect_with):
    model, out = tiny_models.save(name, tmp_path / "model"), tmp_path / "folded"
    wide = protect_with(model, Widen(key_heads=copies))
    with open_checkpoint(wide) as source:
        verbs.realign(source, None, FoldWidth(), verbs.OutputOptions(out))
    with open_checkpoint(out) as folded, open_checkpoint(model) as was:
        assert {n: t.shape for n, t in folded.tensors.items()} == {n: t.shape for n, t in was.tensors.items()}
        assert folded.config == was.config
    sides = [tiny_models.logits(side, exact_norms=True) for side in (out, model)]
    assert tiny_models.relative_error(*sides) < 1e-5


@pytest.mark.parametrize(("dtype", "copies"), [(torch.float32, 1), (torch.bfloat16, 3)])
def test_then_gaugefix_gives_back_the_expert(dtype, copies, tmp_path, protect_with):
    name = "llama-gqa-untied"
    base = tiny_models.save(name, tmp_path / "base", dtype=dtype)
    expert = tiny_models.save_expert(name, tmp_path / "expert", step=0.02)
    if dtype == torch.bfloat16:
        _rounded(expert)
    wide = protect_with(expert, Widen(key_heads=copies))
    with open_checkpoint(wide) as model, open_checkpoint(base) as anchor:
        with pytest.raises(ConfigMismatch if copies > 1 else ShapeMismatch):
            plan(make("linear"), anchor, [model, anchor])
        verbs.realign(model, None, FoldWidth(), verbs.OutputOptions(tmp_path / "folded"))
        with open_checkpoint(tmp_path / "folded") as folded:
            verbs.realign(folded, anchor, GaugeFix(), verbs.OutputOptions(tmp_path / "back"))
    with open_checkpoint(tmp_path / "back") as back, open_checkpoint(expert) as was, open_checkpoint(base) as anchor:
        sides = [[side.read(n).double() for n in was.tensors] for side in (back, was, anchor)]
        left, task = (sum(float((a - b).square().sum()) for a, b in zip(x, sides[1], strict=True)) ** 0.5
                      for x in (sides[0], sides[2]))  # fmt: skip
    assert left < 0.5 * task


def test_a_model_that_was_not_widened_is_left_alone(tmp_path):
    model = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    with open_checkpoint(model) as source, pytest.raises(MethodRefused, match="not widened"):
        verbs.realign(source, None, FoldWidth(), verbs.OutputOptions(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def _rounded(folder) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({n: t.bfloat16() for n, t in load_file(path).items()}, path, {"format": "pt"})


@pytest.fixture
def protect_with(tmp_path):
    def run(folder, protection):
        out = tmp_path / "protected"
        with open_checkpoint(folder) as source:
            verbs.protect(source, protection, Key(bytes([1]) * 32), verbs.OutputOptions(out))
        return out

    return run
