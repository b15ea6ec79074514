"""A rotated residual stream: one decomposition of the vocabulary gives it back, gains and head included."""

import pytest
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MethodRefused
from mergebarrier.keys import Key
from mergebarrier.protect import Exact
from mergebarrier.realign import GaugeFix

KEY = Key(bytes([1]) * 32)


def _distance(one, other) -> float:
    first, second = (load_file(side / "model.safetensors") for side in (one, other))
    return sum(float((first[n] - second[n]).double().square().sum()) for n in first) ** 0.5


@pytest.mark.parametrize("profile", ["lossless", "full"])
def test_gaugefix_turns_it_back_and_keeps_the_function(profile, tmp_path):
    base, expert = (tmp_path / name for name in ("base", "expert"))
    tiny_models.save("llama-gqa-untied", base)
    tiny_models.save_expert("llama-gqa-untied", expert)
    with open_checkpoint(expert) as source:
        method = Exact(residual="rotate", profile=profile)
        verbs.protect(source, method, KEY, verbs.OutputOptions(tmp_path / "out"))
    with open_checkpoint(tmp_path / "out") as source, open_checkpoint(base) as anchor:
        assert bool((source.read("model.norm.weight") == 1).all())
        verbs.realign(source, anchor, GaugeFix(), verbs.OutputOptions(tmp_path / "back"))
    assert tiny_models.relative_error(*(tiny_models.logits(tmp_path / one) for one in ("back", "expert"))) < 1e-5
    # A vocabulary of 96 rows says where 48 coordinates went to about the size of the task vector.
    assert (
        _distance(tmp_path / "back", expert)
        < 1.5 * _distance(expert, base)
        < 0.01 * _distance(tmp_path / "out", expert)
    )


@pytest.mark.parametrize(("name", "why"), [("llama-mha-tied", "head is the embedding"), ("gpt2-untied", "take a mean")])
def test_what_may_not_be_rotated_is_refused_with_the_reason(name, why, tmp_path):
    with open_checkpoint(tiny_models.save(name, tmp_path / "model")) as source:
        with pytest.raises(MethodRefused, match=why) as refused:
            verbs.protect(source, Exact(residual="rotate"), KEY, verbs.OutputOptions(tmp_path / "out"))
    assert refused.value.where == "--residual rotate"
