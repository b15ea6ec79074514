"""An adapter that was moved along answers on the protected model as it did on the original; peft is the judge."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mergebarrier.checkpoint import verify_manifest
from mergebarrier.protect import PROTECTIONS
from peft_adapters import logits_of, quiet, save_adapter
from tiny_models import save

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONV1D = {"r": 4, "target_modules": ["c_attn", "c_proj", "c_fc", "wpe"], "fan_in_fan_out": True}
#: Every protection that needs nothing but the model, and the forms that act otherwise.
METHODS = {
    **{name: [name] for name, kind in PROTECTIONS.items() if not kind.needs},
    "full": ["exact", "--profile", "full"],
    "rotate": ["exact", "--residual", "rotate"],
    "general": ["params", "--kind", "gl"],
    "heads": ["widen", "--key-heads", "3"],
    "both": ["params+mergelock"],
    "last": ["mergelock+widen"],
}
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "everything": (
        "llama-gqa-untied",
        {"r": 4, "target_modules": [*EVERY, "lm_head", "embed_tokens"], "use_rslora": True},
    ),
    "conv1d": ("gpt2-tied", CONV1D),
    "biases": (
        "llama-mqa-biased",
        {"r": 4, "target_modules": ["q_proj", "down_proj"], "bias": "all", "lora_bias": True},
    ),
    "whole": (
        "llama-gqa-untied",
        {
            "r": 4,
            "target_modules": ["v_proj"],
            "modules_to_save": ["norm", "lm_head"],
            "trainable_token_indices": [3, 9],
        },
    ),
    "dora": ("qwen2", {"r": 4, "target_modules": EVERY, "use_dora": True}),
    "ia3": (
        "llama-mqa-biased",
        {"kind": "IA3Config", "target_modules": ["v_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    ),
    "ia3_conv1d": (
        "gpt2-tied",
        {"kind": "IA3Config", "target_modules": ["c_fc", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]},
    ),
    "loha": ("llama-gqa-untied", {"kind": "LoHaConfig", "r": 4, "target_modules": EVERY}),
    "adalora": (
        "llama-gqa-untied",
        {"kind": "AdaLoraConfig", "init_r": 4, "lora_alpha": 8, "total_step": 9, "target_modules": EVERY},
    ),
    "lokr": ("llama-gqa-untied", {"kind": "LoKrConfig", "r": 4, "target_modules": ["q_proj"]}),
    "vera": ("llama-gqa-untied", {"kind": "VeraConfig", "r": 4, "target_modules": ["q_proj"]}),
}
FAST = {
    ("everything", "full"), ("everything", "rotate"), ("everything", "widen"), ("conv1d", "both"), ("biases", "exact"),
    ("whole", "exact"), ("dora", "params"), ("ia3", "exact"), ("loha", "params"),
}  # fmt: skip
#: What an adapter of a kind cannot follow, and the reason that is given.
REFUSED = {
    **{("dora", method): "mixes outputs" for method in ("full", "mergelock", "both", "general", "last", "widen")},
    **{(kind, "rotate"): "cannot be rotated" for kind in ("conv1d", "dora")},
    **{(kind, "heads"): "--key-heads" for kind in ("conv1d", "biases", "dora")},
    ("whole", "rotate"): "the gain of this norm is in what reads it",
    **{("ia3", method): "IA3 scales every output apart" for method in ("full", "mergelock", "both", "general", "last")},
    **{("ia3_conv1d", method): "IA3 scales every output apart" for method in ("widen", "last")},
    **{("ia3_conv1d", method): method for method in ("rotate", "heads")},
    ("ia3", "heads"): "--key-heads",
    **{
        ("loha", method): "LoHa multiplies element by element"
        for method in ("full", "mergelock", "both", "general", "last", "widen", "rotate", "heads")
    },
    **{(kind, method): "its kind of adapter ties" for kind in ("lokr", "vera") for method in METHODS},
}


def answers(base: Path, adapter: Path | None = None) -> torch.Tensor:
    import peft
    from transformers import AutoModelForCausalLM

    with quiet():
        module: Any = AutoModelForCausalLM.from_pretrained(base)
        return logits_of(module if adapter is None else peft.PeftModel.from_pretrained(module, adapter))


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param(kind, method, marks=() if (kind, method) in FAST else pytest.mark.slow)
        for kind in ADAPTERS
        for method in METHODS
        if (kind, method) not in REFUSED
    ],
)
def test_it_answers_on_the_protected_model_as_on_the_original(kind: str, method: str, tmp_path, run_cli) -> None:
    name, config = ADAPTERS[kind]
    base, lora = save(name, tmp_path / "base"), save_adapter(tmp_path / "lora", name, **config)
    ran = run_cli("protect", base, "--method", *METHODS[method], "--adapter", lora, "-o", tmp_path / "out", "--json")
    assert ran.exit_code == 0, ran.stderr
    assert ran.json["adapters"] == [str(tmp_path / "out-lora")] and verify_manifest(tmp_path / "out-lora") == []
    wanted, found = answers(base, lora), answers(tmp_path / "out", tmp_path / "out-lora")
    assert float((found - wanted).abs().max()) <= 1e-5 < 0.5 < float((wanted - answers(base)).abs().max())


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param(
            *case,
            marks=() if case in {("dora", "mergelock"), ("whole", "rotate"), ("vera", "exact")} else pytest.mark.slow,
        )
        for case in REFUSED
    ],
)
def test_what_an_adapter_cannot_follow_is_refused_and_nothing_is_written(kind, method, tmp_path, run_cli) -> None:
    name, config = ADAPTERS[kind]
    base, lora = save(name, tmp_path / "base"), save_adapter(tmp_path / "lora", name, **config)
    ran = run_cli("protect", base, "--method", *METHODS[method], "--adapter", lora, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and REFUSED[kind, method] in ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "lora"]


def test_on_the_model_first_is_the_way_out(tmp_path, run_cli) -> None:
    name, config = ADAPTERS["dora"]
    base, lora = save(name, tmp_path / "base"), save_adapter(tmp_path / "lora", name, **config)
    assert run_cli("protect", f"{base}+{lora}", "--method", "mergelock", "-o", tmp_path / "out").exit_code == 0


def test_a_method_that_changes_more_than_coordinates_and_two_of_one_name_are_refused(tmp_path, run_cli) -> None:
    name, config = ADAPTERS["biases"]
    base, lora = save(name, tmp_path / "base"), save_adapter(tmp_path / "lora", name, **config)
    for words in (["params", "--dropout", "0.3", "--base", base], ["widen", "--dead-layers", "1"]):
        ran = run_cli("protect", base, "--method", *words, "--adapter", lora, "-o", tmp_path / "out")
        assert ran.exit_code == 2 and "no adapter can follow it" in ran.stderr and not (tmp_path / "out").exists()
    other = save_adapter(tmp_path / "more" / "lora", name, **config)
    ran = run_cli("protect", base, "--adapter", lora, "--adapter", other, "-o", tmp_path / "out")
    assert ran.exit_code == 64 and "two adapters have one name" in ran.stderr


def test_a_place_that_is_taken_is_refused_before_the_model_is_written_and_a_key_in_use_stays(tmp_path, run_cli) -> None:
    name, config = ADAPTERS["biases"]
    base, lora = save(name, tmp_path / "base"), save_adapter(tmp_path / "lora", name, **config)
    (tmp_path / "out-lora").mkdir()
    (tmp_path / "out-lora" / "mine").write_text("x")
    ran = run_cli("protect", base, "--adapter", lora, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "out-lora: the folder is not empty" in ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "lora", "out-lora"]


def test_an_adapter_that_names_another_model_is_said(tmp_path, run_cli) -> None:
    name, config = ADAPTERS["biases"]
    base, lora = save(name, tmp_path / "base"), save_adapter(tmp_path / "lora", name, **config)
    file = lora / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "owner/other"}))
    ran = run_cli("protect", base, "--adapter", lora, "-o", tmp_path / "out")
    assert ran.exit_code == 0 and "lora was trained on owner/other, and is put on base" in ran.stderr


def test_the_configuration_and_the_names_stay(tmp_path, run_cli) -> None:
    from safetensors.torch import load_file

    name, config = ADAPTERS["dora"]
    base, lora = save(name, tmp_path / "base"), save_adapter(tmp_path / "lora", name, **config)
    assert run_cli("protect", base, "--adapter", lora, "-o", tmp_path / "out").exit_code == 0
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (lora, tmp_path / "out-lora"))
    assert before.keys() == after.keys() and any(not torch.equal(before[key], after[key]) for key in before)
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in (lora, tmp_path / "out-lora")]
    assert configs[0] == configs[1]
