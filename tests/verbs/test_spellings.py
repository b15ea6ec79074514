"""Every verb on two spellings of one model: it is one model for each of them, and none is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import family_models
import mergebarrier as mb
import peft_adapters
import tiny_models
from mergebarrier.keys import Key
from spellings import SPELLINGS, respelled, with_buffer, without_prefix

KEY = Key(bytes([1]) * 32)
_QUICK = (("mixtral", "fused"), ("qwen2", "alone"))
_CASES = [pytest.param(*one, marks=() if one in _QUICK else pytest.mark.slow) for one in SPELLINGS]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_bits(a: Path, b: Path) -> bool:
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.parametrize(("name", "spelling"), _CASES)
def test_a_model_in_another_spelling_is_the_same_model_to_every_verb(name, spelling, tmp_path, run_cli) -> None:
    change = SPELLINGS[name, spelling]
    base, tuned = family_models.save(name, tmp_path / "base"), tmp_path / "tuned"
    shutil.copytree(base, tuned)
    family_models.nudge(tuned)
    other, other_tuned = (respelled(one, tmp_path / f"other {one.name}", change) for one in (base, tuned))
    assert not family_models.stock(name, other)[1]["missing_keys"], "the stock class reads this spelling"
    assert mb.verify(base, other).equal and mb.verify(other, base).equal

    for profile in ("lossless", "full"):
        method, folder = mb.Exact(profile=profile), tmp_path / profile
        mb.protect(other, folder / "p", method=method, key=KEY)
        assert mb.verify(base, folder / "p").equal
        mb.unprotect(folder / "p", folder / "u", key=KEY)
        assert profile == "full" or same_bits(folder / "u", other)
        mb.protect(tuned, folder / "ours", method=method, key=KEY)
        mb.realign(folder / "ours", folder / "back", base=other)
        theirs = respelled(folder / "ours", folder / "theirs", change)
        mb.unprotect(theirs, folder / "undone", key=KEY, manifest=folder / "ours" / "mergebarrier.json")
        assert profile == "full" or same_bits(folder / "undone", tuned)
        mb.realign(theirs, folder / "back too", base=base)
        if profile == "lossless":
            assert same_bits(folder / "back", tuned) and same_bits(folder / "back too", other_tuned)
        else:
            found = family_models.outputs(name, folder / "back")
            assert family_models.relative_error(found, family_models.outputs(name, tuned)) < 1e-5

    words = ("--base", base, "--method", "task_arithmetic", "--coefficient", "0.5", "-q")
    for out, given in (("one", tuned), ("two", other_tuned)):
        done = run_cli("merge", given, *words, "-o", tmp_path / out)
        assert done.exit_code == 0, done.stderr
    assert same_bits(tmp_path / "one", tmp_path / "two")
    scanned = run_cli("scan", other_tuned, "--base", base, "--json").json
    assert not {one["rule"] for one in scanned["findings"]} & {"MB7101", "MB7104", "MB7105"}, scanned["findings"]


def test_an_adapter_goes_onto_its_base_in_any_spelling(tmp_path, run_cli) -> None:
    base = tiny_models.save("llama-mha-tied", tmp_path / "base")
    settings = {"r": 2, "target_modules": ["q_proj", "down_proj"]}
    one, two = (peft_adapters.save_adapter(tmp_path / f"a{n}", "llama-mha-tied", n, **settings) for n in (1, 2))
    short = respelled(base, tmp_path / "short", without_prefix)
    buffer = with_buffer("model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(6))
    more = respelled(base, tmp_path / "more", buffer)
    twice = respelled(base, tmp_path / "twice", lambda t: {**t, "lm_head.weight": t["model.embed_tokens.weight"]})
    rows = peft_adapters.save_adapter(
        tmp_path / "rows", "llama-mha-tied", 3, **settings, trainable_token_indices=[3, 9]
    )
    words = ("--method", "ties", "--density", "0.5", "-q")
    for name, stored in (("of base", base), ("of twice", twice)):
        assert run_cli("merge", rows, "--base", stored, *words, "-o", tmp_path / name).exit_code == 0
    assert same_bits(tmp_path / "of base", tmp_path / "of twice"), "the head follows its embedding"
    assert run_cli("merge", one, two, "--base", base, *words, "-o", tmp_path / "out").exit_code == 0
    wanted = weights(tmp_path / "out")
    for other in (short, more, twice):
        done = run_cli("merge", one, f"{base}+{two}", "--base", other, *words, "-o", tmp_path / f"{other.name} out")
        assert done.exit_code == 0, done.stderr
        found = weights(tmp_path / f"{other.name} out")
        same = {name: found.get(name, found.get(name.removeprefix("model."))) for name in wanted}
        assert all(tensor.equal(same[name]) for name, tensor in wanted.items())
        mb.protect(f"{other}+{one}", tmp_path / f"{other.name} p", key=KEY)
        scanned = run_cli("scan", f"{other}+{one}", "--base", base, "--json").json
        assert not scanned["findings"], json.dumps(scanned["findings"])


@pytest.mark.parametrize("head", ["Qwen2ForCausalLM", "Qwen2Model"])
def test_a_protection_is_undone_after_another_class_has_saved_the_folder(head, tmp_path) -> None:
    import transformers

    made, saved = sorted(("Qwen2ForCausalLM", "Qwen2Model"), key=lambda name: name != head)
    tied = family_models.save("qwen2", tmp_path / "tied")
    getattr(transformers, made).from_pretrained(tied).save_pretrained(tmp_path / "model")
    mb.protect(tmp_path / "model", tmp_path / "protected", key=KEY)
    getattr(transformers, saved).from_pretrained(tmp_path / "protected").save_pretrained(tmp_path / "again")
    assert weights(tmp_path / "again").keys() != weights(tmp_path / "protected").keys()
    mb.unprotect(
        tmp_path / "again", tmp_path / "undone", key=KEY, manifest=tmp_path / "protected" / "mergebarrier.json"
    )
    assert same_bits(tmp_path / "undone", tmp_path / "model")
    assert json.loads((tmp_path / "undone" / "config.json").read_text())["architectures"] == [made]


def test_a_protected_folder_that_lacks_a_tensor_or_has_other_values_is_refused(tmp_path) -> None:
    model = family_models.save("llama", tmp_path / "model")
    mb.protect(model, tmp_path / "protected", key=KEY)
    changes = (
        lambda tensors: {name: one for name, one in without_prefix(tensors).items() if name != "norm.weight"},
        lambda tensors: {name: 2 * one for name, one in without_prefix(tensors).items()},
    )
    for number, change in enumerate(changes):
        other = respelled(tmp_path / "protected", tmp_path / f"other {number}", change)
        with pytest.raises(mb.errors.DigestMismatch):
            mb.unprotect(other, tmp_path / "undone", key=KEY, manifest=tmp_path / "protected" / "mergebarrier.json")
        assert not (tmp_path / "undone").exists()
