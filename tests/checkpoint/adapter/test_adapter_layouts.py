"""Which modules an adapter is for, and how their weights are stored, where names or square shapes leave it open."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_adapter_kinds import agrees, merged, pair

from mergebarrier.checkpoint import AdaptedCheckpoint, open_adapter, open_checkpoint
from mergebarrier.errors import BadAdapter
from peft_adapters import quiet, tokens
from tiny_models import build


def said(folder: Path, **keys: object) -> None:
    """Change keys of the configuration in a folder; None takes one out."""
    file = next(iter(folder.glob("adapter_config.json")), folder / "config.json")
    table = {**json.loads(file.read_text()), **keys}
    file.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


@pytest.mark.parametrize("pattern", ["model.layers", ["h", "layers"]])
def test_layers_are_asked_only_of_modules_that_are_not_named_in_full(pattern: Any, tmp_path: Path) -> None:
    names = ["lm_head", "q_proj", "model.layers.0.mlp.up_proj"]
    config = {"target_modules": names, "layers_to_transform": [1], "layers_pattern": pattern}
    expert = agrees(tmp_path, merged(pair(tmp_path, build("llama-gqa-untied"), **config)))
    assert len(expert.changes) == 3


def test_the_class_of_a_module_says_how_a_square_matrix_is_stored(tmp_path: Path) -> None:
    """peft sets fan_in_fan_out anew by every module, and saves what the last of them was: here, a head."""
    wanted = merged(pair(tmp_path, build("gpt2-untied"), target_modules=["attn.c_proj", "lm_head"]))
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["fan_in_fan_out"] is False
    agrees(tmp_path, wanted)
    said(tmp_path / "lora", fan_in_fan_out=True)
    agrees(tmp_path, wanted)


def test_square_experts_are_stored_as_their_class_and_the_version_of_peft_say(tmp_path: Path) -> None:
    import transformers

    sizes: dict[str, Any] = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8,
        "num_key_value_heads": 2, "num_local_experts": 3, "num_experts_per_tok": 2, "vocab_size": 32,
    }  # fmt: skip
    model: Any = transformers.GptOssForCausalLM(transformers.GptOssConfig(**sizes))
    name = "model.layers.0.mlp.experts.down_proj"
    wanted = merged(pair(tmp_path, model, target_modules=["q_proj"], target_parameters=["experts.down_proj"]))
    agrees(tmp_path, wanted)
    with open_checkpoint(tmp_path / "base") as base:
        turned = base.read(name) + (wanted[name] - base.read(name)).mT
    said(tmp_path / "base", model_type="qwen3_moe")
    agrees(tmp_path, {**wanted, name: turned})
    said(tmp_path / "lora", peft_version="0.18.1")
    agrees(tmp_path, wanted)
    for version in (None, "0.19.0.dev0", "new"):
        said(tmp_path / "lora", peft_version=version)
        with pytest.raises(BadAdapter, match=r"its matrices are square.*add its version as peft_version"):
            agrees(tmp_path, {})


def test_a_head_that_is_adapted_stands_on_the_rows_that_were_trained_below_it(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    names = ["q_proj", "lm_head"]
    with quiet():
        adapted = pair(tmp_path, build("llama-mha-tied"), target_modules=names, trainable_token_indices=[3, 40])
    with torch.no_grad():
        wanted = adapted(input_ids=tokens()).logits
    with open_checkpoint(tmp_path / "base") as base, open_adapter(tmp_path / "lora") as adapter:
        expert = AdaptedCheckpoint(base, adapter, untie=True)
        module = AutoModelForCausalLM.from_config(type(adapted.config)(**expert.config))
        module.load_state_dict({name: expert.read(name) for name in expert.tensors}, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(input_ids=tokens()).logits, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_types_whose_experts_are_stored_in_out_are_those_of_transformers() -> None:
    import transformers

    from mergebarrier.checkpoint.adapter.layouts import IN_OUT

    models = Path(transformers.__file__).parent / "models"
    found = {file.parent.name for file in models.glob("*/modeling_*.py") if "is_transposed=True" in file.read_text()}
    assert found == {kind.removesuffix("_text") for kind in IN_OUT}
