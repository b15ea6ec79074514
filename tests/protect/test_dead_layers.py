"""Layers that add nothing: the function stays on every family that can have them; key and break take them out again."""

import json

import pytest
import torch
from safetensors.torch import load_file

import family_models
import tiny_models
from family_verbs import KEYS, Family
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import MergebarrierError, MethodRefused
from mergebarrier.keys import Key
from mergebarrier.merge import make, plan
from mergebarrier.protect import Widen, protection_named
from mergebarrier.realign import FoldWidth
from mergebarrier.symmetry import depth, silent_layers

#: Whose norms take the sum of a layer and its input.
NO_IDENTITY = {
    "bert", "bert-classifier", "roberta", "xlmroberta", "camembert", "mpnet", "distilbert", "bart", "plbart",
    "blenderbotsmall",
}  # fmt: skip
FAST = {"llama", "gemma2", "t5", "bert"}
every_family = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in family_models.MODELS]
)


@every_family
def test_the_function_is_kept_and_both_ways_back_lead_to_the_shapes_that_were(name, tmp_path):
    family, out = Family(name, tmp_path), tmp_path / "folded"
    if name in NO_IDENTITY:
        with pytest.raises(MethodRefused, match="the sum of a layer and its input") as refused:
            family.protect(family.base, Widen(dead_layers=2), KEYS[0])
        assert refused.value.where == "--dead-layers"
        return
    long = family.protect(family.base, Widen(dead_layers=2), KEYS[0])
    assert family.error(long, family.base) < 1e-5
    with open_checkpoint(long) as model, open_checkpoint(family.base) as base:
        layers = depth(describe(base))
        assert depth(describe(model)) == layers + 2 and len(silent_layers(describe(model), model)) == 2
        verbs.realign(model, None, FoldWidth(), verbs.OutputOptions(out))
    for back in (out, family.unprotect(long)):
        with open_checkpoint(back) as model, open_checkpoint(family.base) as base:
            assert {n: t.shape for n, t in model.tensors.items()} == {n: t.shape for n, t in base.tensors.items()}
            said = {key: value for key, value in base.config.items() if value is not None}  # a width may be said now
            assert {key: model.config[key] for key in said} == said
        assert family.error(back, family.base) < 1e-5


def test_places_are_drawn_from_the_key_and_are_never_the_first(tmp_path, protect):
    folder, found = _tall(tmp_path / "model", 12), []
    for key in (1, 2):
        with open_checkpoint(protect(folder, Widen(dead_layers=4), key=key)) as model:
            found.append(silent_layers(describe(model), model))
    assert found[0] != found[1] and all(len(one) == 4 and min(one) > 1 for one in found)


def test_they_alone_leave_every_bit_of_the_output(tmp_path, protect):
    """The layers of the long model that say something are those of the model that was widened alone, to the bit."""
    folder = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    wide, long = (protect(folder, Widen(dead_layers=n)) for n in (0, 3))
    assert torch.equal(tiny_models.logits(wide, dtype=torch.float32), tiny_models.logits(long, dtype=torch.float32))
    assert json.loads((long / "config.json").read_text())["num_hidden_layers"] == 5


def test_a_stack_of_one_layer_and_layers_that_compute_by_their_number_are_refused(tmp_path, protect):
    with pytest.raises(MethodRefused, match="one layer"):
        protect(_tall(tmp_path / "short", 1), Widen(dead_layers=1))
    numbered = tiny_models.save("gpt2-tied", tmp_path / "numbered")
    config = json.loads((numbered / "config.json").read_text()) | {"scale_attn_by_inverse_layer_idx": True}
    (numbered / "config.json").write_text(json.dumps(config))
    with pytest.raises(MethodRefused, match="scale_attn_by_inverse_layer_idx") as refused:
        protect(numbered, Widen(dead_layers=1))
    assert refused.value.where == "--dead-layers" and not list(tmp_path.glob("protected*"))


def test_nothing_merges_with_it(tmp_path, protect):
    base = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    long = protect(tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert"), Widen(dead_layers=1))
    with open_checkpoint(long) as model, open_checkpoint(base) as anchor, pytest.raises(MergebarrierError):
        plan(make("linear"), anchor, [model, anchor])


@pytest.mark.parametrize("method", ["exact+widen", "params+widen"])
def test_behind_another_method_all_of_it_comes_back(method, tmp_path, protect, unprotect):
    folder = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    long = protect(folder, protection_named(method, {"dead_layers": 2, "key_heads": 3}))
    back, was = (load_file(side / "model.safetensors") for side in (unprotect(long), folder))
    assert back.keys() == was.keys()
    for name, tensor in was.items():
        torch.testing.assert_close(back[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_dry_run_says_the_size_without_a_key(tmp_path):
    with open_checkpoint(_tall(tmp_path / "model", 3)) as source:
        asked = Widen(dead_layers=2)
        intended = verbs.dry_run(source, asked)
        content, _ = verbs.protect(source, asked, Key(b"k" * 32), verbs.OutputOptions(tmp_path / "out"))
    assert intended["tensors"] == len(content["output"]["tensors"])


def _tall(folder, layers):
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=4, vocab_size=64
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder
