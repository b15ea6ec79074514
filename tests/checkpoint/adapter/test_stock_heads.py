"""Heads that are tied in families without a table, and ``ensure_weight_tying``: the trained model is the judge."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mergebarrier.identity.stock_heads import HEADS, NO_BIAS
from peft_adapters import quiet

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 32, "pad_token_id": 0,
}  # fmt: skip
SHARED = {
    "vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 32,
    "decoder_start_token_id": 2,
}  # fmt: skip
#: Class -> (its configuration, what an adapter trains of it besides a projection).
MODELS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "Albert": (SIZES | {"embedding_size": 8}, [{"modules_to_save": ["predictions"]}, {"target": "word_embeddings"}]),
    "Electra": (SIZES | {"embedding_size": 8},
                [{"target": "generator_lm_head"}, {"modules_to_save": ["word_embeddings"]}]),
    "M2M100": (SHARED, [{"target": "lm_head"}]),
    "Esm": (SIZES | {"position_embedding_type": "rotary", "token_dropout": False, "mask_token_id": 3},
            [{"modules_to_save": ["lm_head"]}]),
    "XLNet": ({"vocab_size": 40, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 24},
              [{"target": "lm_loss"}, {"target": "lm_loss", "trainable_token_indices": {"word_embedding": [1, 5, 6]}}]),
    "BioGpt": (SIZES, [{"modules_to_save": ["output_projection"]}]),
    "GPT2": ({"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
             [{"target": "wte", "ensure_weight_tying": True}, {"target": "lm_head", "ensure_weight_tying": True}]),
    "Llama": (SIZES | {"tie_word_embeddings": True},
              [{"target": "embed_tokens", "ensure_weight_tying": True, "use_dora": True}]),
}  # fmt: skip
CLASSES = {"M2M100": "ForConditionalGeneration", "XLNet": "LMHeadModel", "BioGpt": "ForCausalLM",
           "GPT2": "LMHeadModel", "Llama": "ForCausalLM"}  # fmt: skip
PROJECTIONS = {"Albert": "query", "Electra": "query", "Esm": "query", "M2M100": "fc1", "XLNet": "layer_1",
               "BioGpt": "q_proj", "GPT2": "c_attn", "Llama": "q_proj"}  # fmt: skip
QUICK = (("Albert", 0), ("M2M100", 0), ("GPT2", 0), ("Llama", 0))
CASES = [
    pytest.param(name, place, id=f"{name}-{place}", marks=() if (name, place) in QUICK else pytest.mark.slow)
    for name, (_, trained) in MODELS.items()
    for place in range(len(trained))
]


def answers(module: Any) -> torch.Tensor:
    words = torch.arange(4, 24).reshape(2, 10)
    more = {"decoder_input_ids": words} if module.config.is_encoder_decoder else {}
    with torch.no_grad():
        return module.eval()(input_ids=words, **more).logits


@pytest.mark.parametrize("silent", [False, True], ids=["said", "silent"])
@pytest.mark.parametrize(("name", "place"), CASES)
def test_an_adapted_head_or_embedding_answers_as_it_was_trained(
    name: str, place: int, silent: bool, tmp_path: Path, run_cli
) -> None:
    """``silent``: the configuration does not say the tie, as those of transformers 4 do not where it is the default."""
    import peft
    import transformers

    sizes, trained = MODELS[name]
    more = dict(trained[place])
    kind = getattr(transformers, name + CLASSES.get(name, "ForMaskedLM"))
    torch.manual_seed(0)
    kind(getattr(transformers, f"{name}Config")(**sizes)).save_pretrained(tmp_path / "base")
    file = tmp_path / "base" / "config.json"
    config = json.loads(file.read_text())
    if silent and name != "Llama":  # whose class ties nothing by default
        file.write_text(json.dumps({key: one for key, one in config.items() if key != "tie_word_embeddings"}))
    targets = [PROJECTIONS[name], *filter(None, [more.pop("target", None)])]
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        model = kind.from_pretrained(tmp_path / "base")
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, **more))
        for parameter in filter(lambda one: one.requires_grad, adapted.parameters()):
            parameter.data += 0.1 * torch.randn(parameter.shape)
        adapted.save_pretrained(tmp_path / "adapter")
        wanted = answers(adapted.base_model.model)
    words = (
        "merge",
        tmp_path / "adapter",
        "--base",
        tmp_path / "base",
        "--method",
        "linear",
        "-q",
        "-o",
        tmp_path / "out",
    )
    ran = run_cli(*words)
    if more != {"ensure_weight_tying": True} or "lm_head" not in targets:  # which peft adapts alike
        assert ran.exit_code == 2 and "--untie" in ran.stderr, ran.stderr
        ran = run_cli(*words, "--untie")
    assert ran.exit_code == 0, ran.stderr
    merged, info = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    assert float((answers(merged) - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


@pytest.mark.slow
def test_the_names_are_those_that_stock_classes_tie() -> None:
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES, model_type_to_module_name

    kinds = ("MASKED_LM", "CAUSAL_LM", "PRETRAINING", "SPEECH_SEQ_2_SEQ", "SEQ_TO_SEQ_CAUSAL_LM")
    found: dict[str, set[str]] = {}
    for one in kinds:
        for kind, names in getattr(modeling_auto, f"MODEL_FOR_{one}_MAPPING_NAMES").items():
            if kind not in HEADS or kind not in CONFIG_MAPPING_NAMES:
                continue
            module = importlib.import_module(f"transformers.models.{model_type_to_module_name(kind)}")
            for name in names if isinstance(names, tuple) else (names,):
                tied = getattr(getattr(module, name), "_tied_weights_keys", None) or {}
                found.setdefault(kind, set()).update(tied)
    for kind, head in HEADS.items():
        assert kind == "luke" or f"{head}.weight" in found[kind], kind
        biased = head.endswith(("predictions.decoder", "lm_head.decoder")) and kind not in NO_BIAS
        assert (f"{head}.bias" in found[kind]) == biased, kind


@pytest.mark.parametrize(("name", "saved"), [("Bart", "shared"), ("Llama", "lm_head")])
def test_a_saved_module_that_was_not_trained_asks_for_no_head_of_its_own(
    name: str, saved: str, tmp_path: Path, run_cli
) -> None:
    import peft
    import transformers

    sizes = SHARED if name == "Bart" else MODELS[name][0]
    kind = getattr(transformers, name + {"Bart": "ForConditionalGeneration"}.get(name, "ForCausalLM"))
    torch.manual_seed(0)
    kind(getattr(transformers, f"{name}Config")(**sizes)).save_pretrained(tmp_path / "base")
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        model = kind.from_pretrained(tmp_path / "base")
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=[saved]))
        for key, parameter in adapted.named_parameters():
            if "lora_" in key:
                parameter.data += 0.1 * torch.randn(parameter.shape)
        adapted.save_pretrained(tmp_path / "adapter")
        wanted = answers(adapted.base_model.model)
    words = ("merge", tmp_path / "adapter", "--base", tmp_path / "base", "--method", "linear", "-q", "-o")
    ran = run_cli(*words, tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    merged = kind.from_pretrained(tmp_path / "out")
    assert merged.config.tie_word_embeddings
    assert float((answers(merged) - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    key = next(one for one in tensors if f"{saved}." in one and "lora_" not in one)
    save_file(tensors | {key: tensors[key] + 0.01}, file, metadata={"format": "pt"})
    ran = run_cli(*words, tmp_path / "other")
    assert ran.exit_code == 2 and "--untie" in ran.stderr, ran.stderr


def test_an_embedding_that_encoder_and_decoder_share_is_not_trained_in_one_of_them(tmp_path: Path, run_cli) -> None:
    import peft
    import transformers

    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes))
    model.save_pretrained(tmp_path / "base")
    with quiet():
        lora = peft.LoraConfig(r=2, target_modules=["q"], modules_to_save=["decoder"])
        peft.get_peft_model(model, lora).save_pretrained(tmp_path / "adapter")
    words = ("merge", tmp_path / "adapter", "--base", tmp_path / "base", "--method", "linear", "-q")
    ran = run_cli(*words, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "encoder and decoder share shared.weight" in ran.stderr


def test_an_update_of_positions_that_peft_reads_in_two_ways_is_merged_with_a_note(tmp_path: Path, run_cli) -> None:
    """OPT hands its table the attention mask, which peft's live model looks the update up by; its merge adds it."""
    import peft
    import transformers

    sizes = SIZES | {"ffn_dim": 24, "word_embed_proj_dim": 16}
    torch.manual_seed(0)
    transformers.OPTForCausalLM(transformers.OPTConfig(**sizes)).save_pretrained(tmp_path / "base")
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.OPTForCausalLM.from_pretrained(tmp_path / "base")
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["embed_positions"]))
        for parameter in filter(lambda one: one.requires_grad, adapted.parameters()):
            parameter.data += 0.1 * torch.randn(parameter.shape)
        adapted.save_pretrained(tmp_path / "adapter")
        words = torch.arange(4, 24).reshape(2, 10)
        with torch.no_grad():
            live = adapted.eval()(input_ids=words, attention_mask=torch.ones_like(words)).logits
        wanted = answers(adapted.merge_and_unload())
    assert not torch.allclose(live, wanted, atol=1e-3)
    words = ("--base", tmp_path / "base", "--method", "linear", "-o", tmp_path / "out")
    ran = run_cli("merge", tmp_path / "adapter", *words)
    assert ran.exit_code == 0 and "which are no positions" in ran.stderr, ran.stderr
    assert torch.allclose(answers(transformers.OPTForCausalLM.from_pretrained(tmp_path / "out")), wanted, atol=1e-5)
