"""Adapters that are no LoRA: a base with one is, tensor by tensor, what peft's merge_and_unload makes of the two."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hostile_adapters
from mergebarrier.checkpoint import AdaptedCheckpoint, open_adapter, open_checkpoint
from mergebarrier.errors import AdapterRefused, BadAdapter
from peft_adapters import adapted, merged_by_peft, quiet, save_adapter
from tiny_models import build, save

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LLAMA, BIASED, GPT2 = "llama-gqa-untied", "llama-mqa-biased", "gpt2-tied"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ia3": (BIASED, {"kind": "IA3Config", "target_modules": ["k_proj", "v_proj", "down_proj"],
                     "feedforward_modules": ["down_proj"]}),
    "ia3 of (in, out)": (GPT2, {"kind": "IA3Config", "target_modules": ["c_attn", "attn.c_proj", "mlp.c_proj"],
                                "feedforward_modules": ["mlp.c_proj"], "modules_to_save": ["ln_f"]}),
    "loha": (LLAMA, {"kind": "LoHaConfig", "r": 3, "alpha": 5, "target_modules": EVERY, "rank_pattern": {"q_proj": 2},
                     "alpha_pattern": {"up_proj": 9}}),
    "lokr": (LLAMA, {"kind": "LoKrConfig", "r": 2, "alpha": 5, "target_modules": EVERY}),
    "lokr, both of low rank": (LLAMA, {"kind": "LoKrConfig", "r": 1, "target_modules": EVERY, "decompose_both": True,
                                       "decompose_factor": 4}),
    "lokr, both whole": (LLAMA, {"kind": "LoKrConfig", "r": 200, "target_modules": EVERY, "modules_to_save": ["norm"]}),
    "vera": (LLAMA, {"kind": "VeraConfig", "r": 6, "target_modules": "all-linear"}),
    "vera, drawn": (BIASED, {"kind": "VeraConfig", "r": 6, "target_modules": EVERY, "save_projection": False,
                             "projection_prng_key": 7, "bias": "vera_only"}),
    "vera of (in, out)": (GPT2, {"kind": "VeraConfig", "r": 6, "target_modules": ["c_attn", "c_proj", "c_fc"],
                                 "save_projection": False, "fan_in_fan_out": True}),
    "adalora": (LLAMA, {"kind": "AdaLoraConfig", "init_r": 6, "lora_alpha": 5, "target_modules": EVERY,
                        "total_step": 10}),
    "adalora of (in, out)": (GPT2, {"kind": "AdaLoraConfig", "init_r": 6, "target_modules": ["c_attn", "c_proj"],
                                    "total_step": 10, "fan_in_fan_out": True}),
    "norms": (GPT2, {"kind": "LNTuningConfig", "target_modules": ["ln_1", "ln_f"]}),
    "tokens": ("llama-mha-tied", {"kind": "TrainableTokensConfig", "token_indices": [3, 1, 9]}),
}  # fmt: skip


def compared(base: Path, adapter: Path, wanted: dict[str, torch.Tensor]) -> int:
    """Compare within a rounding or two of float32, and return how many tensors of the base the adapter changes."""
    with open_checkpoint(base) as model, open_adapter(adapter) as opened:
        expert = AdaptedCheckpoint(model, opened)
        for name, info in expert.tensors.items():
            ours, theirs = expert.read(name), wanted[name]
            assert ours.shape == theirs.shape and ours.dtype == torch.float32
            assert float((ours - theirs).abs().max()) <= 1e-6 * max(1.0, float(theirs.abs().max())), name
            assert name in expert.changes or torch.equal(ours, model.read(name)), name
            if info.shape and info.shape[0] > 3:
                assert torch.equal(expert.read_rows(name, 1, 3), ours[1:3])
        return len(expert.changes)


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_peft_merges(case: str, tmp_path: Path) -> None:
    name, config = CASES[case]
    adapter = save_adapter(tmp_path / "adapter", name, **config)
    assert compared(save(name, tmp_path / "base"), adapter, merged_by_peft(name, adapter)) >= 1


def test_singular_values_that_training_cut_are_left_out(tmp_path: Path) -> None:
    model = adapted(LLAMA, kind="AdaLoraConfig", init_r=6, target_modules=["q_proj", "up_proj"], total_step=10)
    kept = {"layers.0.mlp.up_proj": [False] * 6, "layers.1.mlp.up_proj": [True] * 6}
    names = [name.removeprefix("base_model.model.") for name, _ in model.named_parameters() if "lora_E" in name]
    masks = {name: next((kept[one] for one in kept if one in name), [True, False] * 3) for name in names}
    model.peft_config["default"].rank_pattern = masks
    with quiet():
        model.save_pretrained(tmp_path / "adapter")
    assert compared(save(LLAMA, tmp_path / "base"), tmp_path / "adapter", merged_by_peft(LLAMA, tmp_path / "adapter"))


def kernels() -> dict[str, Callable[[], Any]]:
    """Kinds that act on convolutions: in groups, of one or two axes, with a core or flat."""
    import peft

    flat, deep = {"use_effective_conv2d": False}, {"use_effective_conv2d": True}
    two = {"target_modules": ["dwconv", "pwconv1", "embeddings.patch_embeddings", "downsampling_layer.1"]}
    one = {"target_modules": r".*feature_extractor.*\.conv|.*q_proj"}
    return {
        "loha, flat": lambda: peft.LoHaConfig(r=2, alpha=3, **two, **flat),
        "loha, core": lambda: peft.LoHaConfig(r=2, alpha=3, **two, **deep),
        "lokr, core": lambda: peft.LoKrConfig(r=1, alpha=3, **two, **deep, decompose_both=True),
        "lokr, flat": lambda: peft.LoKrConfig(r=1, alpha=3, **two, **flat, decompose_factor=2),
        "lokr, whole": lambda: peft.LoKrConfig(r=50, alpha=3, **two, **flat),
        "ia3": lambda: peft.IA3Config(**two, feedforward_modules=["dwconv", "downsampling_layer.1"]),
        "loha, one axis": lambda: peft.LoHaConfig(r=2, alpha=3, **one, **deep),
        "lokr, one axis, whole": lambda: peft.LoKrConfig(r=50, alpha=3, **one, **flat),
        "lokr, one axis": lambda: peft.LoKrConfig(r=1, alpha=3, **one, **flat),
    }


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case in ("loha, core", "ia3", "lokr, one axis, whole") else pytest.mark.slow)
        for case in kernels()
    ],
)
def test_kernels_too(case: str, tmp_path: Path) -> None:
    import peft
    import transformers

    small: Any = (
        transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20, conv_dim=(8, 8),
            conv_kernel=(3, 3), conv_stride=(2, 2), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2, vocab_size=20,
        ))
        if "one axis" in case
        else transformers.ConvNextForImageClassification(transformers.ConvNextConfig(
            hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], image_size=32
        ))
    )  # fmt: skip
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in small.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
        small.save_pretrained(tmp_path / "base")
        model = peft.get_peft_model(small, kernels()[case]())
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape)
        model.save_pretrained(tmp_path / "adapter")
        plain = type(small).from_pretrained(tmp_path / "base")
        merged = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload()
    assert compared(tmp_path / "base", tmp_path / "adapter", merged.state_dict()) >= 3


def rewritten(folder: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]) -> Path:
    """An adapter after a change of its configuration and tensors."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    change(config, tensors)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("case", "change", "words"),
    [
        ("vera", lambda c, t: t.pop("base_model.vera_A"), "vera_A and vera_B are missing"),
        ("vera, drawn", lambda c, t: c.update(projection_prng_key=None), "projection_prng_key is no number"),
        ("vera", lambda c, t: c.update(r=5), "rank 6, the configuration gives its module 5"),
        ("ia3", lambda c, t: c.update(feedforward_modules=["v_proj"]), "and feedforward_modules"),
        ("ia3", lambda c, t: c.update(target_modules=["k_proj"]), "not among target_modules"),
        ("loha", lambda c, t: t.pop(next(name for name in t if "w2_b" in name)), "hada_w2_b of its module is missing"),
        ("adalora", lambda c, t: c.update(init_r=4), "rank 6, the configuration gives its module 4"),
        ("lokr", lambda c, t: c.update(lora_alpha=4), "unknown key 'lora_alpha'"),
        ("lokr", lambda c, t: t.update({next(iter(t)): torch.ones(0)}), "empty"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_refused(case: str, change, words: str, tmp_path: Path) -> None:
    name, config = CASES[case]
    folder = rewritten(save_adapter(tmp_path / "adapter", name, **config), change)
    with pytest.raises(BadAdapter, match=words):
        open_adapter(folder)


def test_a_small_file_cannot_ask_for_all_memory(tmp_path: Path) -> None:
    rank, name = 60_000, "base_model.model.model.layers.0.mlp.up_proj.vera_lambda_"

    def grown(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        config.update(r=rank, target_modules=["up_proj"])
        tensors.clear()
        tensors.update({f"{name}b": torch.ones(8192), f"{name}d": torch.ones(rank)})

    folder = rewritten(save_adapter(tmp_path / "adapter", BIASED, **CASES["vera, drawn"][1]), grown)
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "llama"}')
    save_file({"model.layers.0.mlp.up_proj.weight": torch.ones(8192, 2)}, base / "model.safetensors")
    with open_checkpoint(base) as model, open_adapter(folder) as adapter:
        with pytest.raises(BadAdapter, match="random numbers"):
            AdaptedCheckpoint(model, adapter)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_that_changed_the_base_is_refused_until_it_is_converted(start: str, tmp_path: Path) -> None:
    import peft

    config = {"r": 4, "target_modules": ["q_proj", "up_proj"], "init_lora_weights": start}
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(3)
        model = peft.get_peft_model(build(LLAMA), peft.LoraConfig(**config))
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(tmp_path / "initial")
        model.peft_config["default"].init_lora_weights = start
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape)
        model.save_pretrained(tmp_path / "as it is")
        model.save_pretrained(tmp_path / "adapter", path_initial_model_for_weight_conversion=str(tmp_path / "initial"))
        wanted = model.merge_and_unload().state_dict()
    with pytest.raises(AdapterRefused, match=r"its start changed.*path_initial_model_for_weight_conversion"):
        open_adapter(tmp_path / "as it is")
    assert compared(save(LLAMA, tmp_path / "base"), tmp_path / "adapter", wanted) == 4


@pytest.mark.parametrize("start", ["loftq", "corda", "lora_ga"])
def test_such_a_start_is_named_with_a_way_out_that_there_is(start: str, tmp_path: Path) -> None:
    hostile_adapters.sound(tmp_path / "a", init_lora_weights=start, corda_config={"corda_method": "kpm"})
    with pytest.raises(AdapterRefused, match=r"its start changed.*give the base that its start left") as caught:
        open_adapter(tmp_path / "a")
    assert ("path_initial_model" in caught.value.remedy) == (start != "loftq"), "peft does not convert that one"
    # What peft converted says True, and keeps the settings of the start, which it passes over then.
    hostile_adapters.sound(tmp_path / "b", init_lora_weights=True, corda_config={"corda_method": "kpm"})
    open_adapter(tmp_path / "b").close()


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "XLORA"])
def test_what_no_weights_could_hold_gets_no_advice_to_merge_it(kind: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": kind, "num_virtual_tokens": 8}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(AdapterRefused, match="no weights of the base could hold that") as caught:
        open_adapter(tmp_path)
    assert "merge_and_unload" not in str(caught.value)


def test_adapters_of_two_kinds_are_merged_as_models_and_not_into_one_adapter(tmp_path: Path, run_cli) -> None:
    base = save(LLAMA, tmp_path / "base")
    folders = [save_adapter(tmp_path / case, LLAMA, **CASES[case][1]) for case in ("loha", "vera")]
    flags = ["merge", *folders, "--base", base, "--method", "task_arithmetic"]
    ran = run_cli(*flags, "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    theirs = [merged_by_peft(LLAMA, folder) for folder in folders]
    with open_checkpoint(base) as model, open_checkpoint(tmp_path / "out") as out:
        for name in out.tensors:
            before = model.read(name)
            wanted = before + (theirs[0][name] - before) + (theirs[1][name] - before)
            assert float((out.read(name) - wanted).abs().max()) <= 4e-6, name
    inputs = json.loads((tmp_path / "out" / "mergebarrier.json").read_text())["content"]["inputs"]
    assert [item["peft_type"] for item in inputs if item["role"] == "adapter"] == ["LOHA", "VERA"]
    refused = run_cli(*flags, "--as", "adapter", "-o", tmp_path / "one")
    assert refused.exit_code == 2 and "peft_type is LOHA" in refused.stderr and "leave --as out" in refused.stderr
