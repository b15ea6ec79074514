"""Embeddings and heads that an adapter trains in families that tie them, each with names and ties of its own.

The judge is the trained model in peft.  It drops the bias of a head whose rows are trained as single tokens, and its
copy of an embedding that encoder and decoder share is not what they read, so these two kinds are not compared.
"""

import json
from typing import Any

import pytest
import torch

import family_models
from peft_adapters import quiet

#: Family -> (a module inside, its embedding, its head).
TIED = {
    "gpt2": ("h.0.mlp.c_fc", "wte", "lm_head"),
    "opt": ("layers.0.fc1", "embed_tokens", "lm_head"),
    "bloom": ("h.0.mlp.dense_h_to_4h", "word_embeddings", "lm_head"),
    "mamba": ("layers.0.mixer.in_proj", "embeddings", "lm_head"),
    "bert": ("layer.0.attention.self.query", "word_embeddings", "cls.predictions.decoder"),
    "roberta": ("layer.0.attention.self.query", "word_embeddings", "lm_head.decoder"),
    "distilbert": ("layer.0.attention.q_lin", "word_embeddings", "vocab_projector"),
    "modernbert": ("layers.0.attn.Wqkv", "tok_embeddings", "decoder"),
    "whisper": ("decoder.layers.0.fc1", "embed_tokens", "proj_out"),
    "bart": ("decoder.layers.0.fc1", "shared", "lm_head"),
    "t5": ("decoder.block.0.layer.0.SelfAttention.q", "shared", "lm_head"),
    "gemma3_pictures": ("language_model.layers.0.mlp.up_proj", "embed_tokens", "lm_head"),
    "mistral3": ("language_model.layers.0.mlp.up_proj", "embed_tokens", "lm_head"),
}
_QUICK = {("gpt2", "head", False), ("bert", "whole head", True), ("gemma3_pictures", "whole", True)}


def settings(family: str, kind: str) -> dict[str, Any]:
    inner, embedding, head = TIED[family]
    more: dict[str, Any] = {
        "whole": {"modules_to_save": [embedding]},
        "whole head": {"modules_to_save": [head]},
        "factors": {"target_modules": [inner, embedding]},
        "head": {"target_modules": [inner, head]},
        "tokens": {"trainable_token_indices": {embedding: [3, 9]}},
    }[kind]
    return {"r": 2, "target_modules": [inner], "fan_in_fan_out": family == "gpt2", **more}


def _cases() -> list[Any]:
    kinds = ("whole", "whole head", "factors", "head", "tokens")
    found = [(family, kind, said) for family in TIED for kind in kinds for said in (True, False)]
    biased, shared = ("bert", "roberta", "distilbert", "modernbert"), ("bart", "t5")
    compared = [
        (family, kind, said)
        for family, kind, said in found
        if not (kind == "tokens" and family in biased) and not (kind in ("whole", "factors") and family in shared)
    ]
    return [pytest.param(*one, marks=() if one in _QUICK else pytest.mark.slow) for one in compared]


@pytest.mark.parametrize(("family", "kind", "said"), _cases())
def test_an_adapted_tied_model_answers_as_it_was_trained_or_is_refused(family, kind, said, tmp_path, run_cli) -> None:
    """``said``: whether the configuration names the tie, which is what the class does anyhow."""
    import peft

    base = family_models.save(family, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config.pop("tie_word_embeddings", None)
    (base / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True} if said else config))
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        trained = peft.get_peft_model(family_models.stock(family, base)[0], peft.LoraConfig(**settings(family, kind)))
        for parameter in filter(lambda one: one.requires_grad, trained.parameters()):
            parameter.data += 0.1 * torch.randn(parameter.shape)
        trained.save_pretrained(tmp_path / "adapter")
        loaded = peft.PeftModel.from_pretrained(family_models.stock(family, base)[0], tmp_path / "adapter")
        wanted = family_models.answers(loaded.base_model.model)
    words = ("merge", tmp_path / "adapter", "--base", base, "--method", "linear", "-q", "-o")
    plain = run_cli(*words, tmp_path / "plain")
    if kind == "tokens":
        assert plain.exit_code == 0, plain.stderr
        assert family_models.relative_error(family_models.outputs(family, tmp_path / "plain"), wanted) < 1e-5
    else:
        assert plain.exit_code == 2 and "--untie" in plain.stderr
    untied = run_cli(*words, tmp_path / "untied", "--untie")
    assert untied.exit_code == 0, untied.stderr
    assert family_models.relative_error(family_models.outputs(family, tmp_path / "untied"), wanted) < 1e-5


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in ("bert", "bart") else pytest.mark.slow) for name in TIED]
)
def test_what_is_tied_beside_the_head_is_stored_too_where_a_merge_unties(family, twice, tmp_path, run_cli) -> None:
    from safetensors.torch import load_file, save_file

    from mergebarrier.arch import FAMILIES
    from spellings import head_twice

    base = family_models.save(family, tmp_path / "base")
    path, wanted = base / "model.safetensors", family_models.outputs(family, base)
    if twice:
        save_file(head_twice(FAMILIES[family].head)(load_file(path)), path, {"format": "pt"})
    done = run_cli("merge", base, "--method", "linear", "--untie", "-q", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert family_models.relative_error(family_models.outputs(family, tmp_path / "out"), wanted) < 1e-6


@pytest.mark.parametrize(
    "name",
    ["T5", *(pytest.param(one, marks=pytest.mark.slow) for one in ("LongT5", "UMT5", "MT5", "SwitchTransformers"))],
)
def test_a_head_of_its_own_keeps_the_factor_that_a_tied_one_has(name: str, tmp_path, run_cli) -> None:
    """Configurations on the hub do not say the factor: older classes took it from the tie."""
    import transformers

    sizes = {"vocab_size": 32, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 4, "num_experts": 2}
    kind = getattr(transformers, f"{name}ForConditionalGeneration")
    kind(getattr(transformers, f"{name}Config")(**sizes, decoder_start_token_id=0)).save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    silent = ("scale_decoder_outputs", "tie_word_embeddings")
    file.write_text(json.dumps({key: one for key, one in json.loads(file.read_text()).items() if key not in silent}))
    ran = run_cli("merge", tmp_path / "m", "--method", "linear", "--untie", "-o", tmp_path / "out")
    if name == "SwitchTransformers":  # no key of its configuration says it apart
        assert ran.exit_code == 2 and "scales what enters a tied head alone" in ran.stderr
        return
    assert ran.exit_code == 0, ran.stderr
    words = torch.arange(12).reshape(1, -1)
    with torch.no_grad():
        found, wanted = (
            kind.from_pretrained(tmp_path / one).eval()(input_ids=words, decoder_input_ids=words).logits
            for one in ("out", "m")
        )
    torch.testing.assert_close(found, wanted)
