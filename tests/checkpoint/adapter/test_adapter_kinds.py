"""Kinds of adapters that peft writes beside the factors of matrices, each judged by what peft makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mergebarrier.checkpoint import AdaptedCheckpoint, open_adapter, open_checkpoint
from mergebarrier.checkpoint.adapter.config import read_adapter_config
from mergebarrier.errors import BadAdapter
from mergebarrier.identity import finder, ties_of
from peft_adapters import quiet, tokens
from tiny_models import build


def pair(folder: Path, model: Any, *, save: bool = False, rows: int | None = None, **config: Any) -> Any:
    """Write a base and a random adapter on it; return the live model with it."""
    import peft

    with quiet(), torch.random.fork_rng():
        torch.manual_seed(7)
        model.save_pretrained(folder / "base")
        if rows is not None:
            model.resize_token_embeddings(rows)
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, **config))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape)
        adapted.save_pretrained(folder / "lora", save_embedding_layers=save)
    return adapted.eval()


def agrees(folder: Path, wanted: dict[str, torch.Tensor]) -> AdaptedCheckpoint:
    with open_checkpoint(folder / "base") as base, open_adapter(folder / "lora") as adapter:
        expert = AdaptedCheckpoint(base, adapter)
        for name in expert.tensors:
            torch.testing.assert_close(expert.read(name), wanted[name], rtol=1e-5, atol=1e-6)
        return expert


def merged(model: Any) -> dict[str, torch.Tensor]:
    with quiet():
        return dict(model.merge_and_unload().state_dict())


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_a_convolution(dora: bool, tmp_path: Path) -> None:
    from transformers import ConvNextV2Config, ConvNextV2Model

    sizes: dict[str, Any] = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1], "num_channels": 3}
    model = ConvNextV2Model(ConvNextV2Config(**sizes))
    names = ["patch_embeddings", "downsampling_layer.1", "pwconv1"]
    adapted = pair(tmp_path, model, target_modules=names, use_dora=dora)
    expert = agrees(tmp_path, merged(adapted))
    assert sum(len(expert.tensors[name].shape) == 4 for name in expert.changes) == 4


def test_convolutions_in_one_dimension_in_groups_and_with_a_bias_of_their_own(tmp_path: Path) -> None:
    import transformers

    sizes: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 32,
        "conv_dim": (8, 8), "conv_stride": (2, 2), "conv_kernel": (3, 3), "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "conv_bias": True,
    }  # fmt: skip
    model = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**sizes))
    names = ["q_proj", "conv_layers.1.conv", "feature_projection.projection"]
    adapted = pair(tmp_path, model, target_modules=names, lora_bias=True)
    expert = agrees(tmp_path, merged(adapted))
    assert sum(change.biased is not None for change in expert.changes.values()) == 3
    assert any(len(expert.tensors[name].shape) == 3 for name in expert.changes)


def test_an_attention_of_torch_has_two_updates(tmp_path: Path) -> None:
    """The pooling head of SigLIP; peft names the module and adapts its inputs, and its output by twice the update."""
    import transformers

    sizes: dict[str, Any] = {"image_size": 16, "patch_size": 8}
    sizes |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**sizes))
    patterns = {"rank_pattern": {"head.attention": 3}, "alpha_pattern": {"head.attention": 5}}
    adapted = pair(tmp_path, model, target_modules=["q_proj", "attention"], bias="lora_only", **patterns)
    expert = agrees(tmp_path, merged(adapted))
    names = {name.rpartition("attention.")[2] for name in expert.changes if "head.attention" in name}
    assert names == {"in_proj_weight", "out_proj.weight", "out_proj.bias"}
    assert not any("passes by" in note for note in expert.folder_notes)
    lone = agrees(tmp_path / "lone", merged(pair(tmp_path / "lone", model, target_modules=["attention.out_proj"])))
    assert sum("passes by" in note for note in lone.folder_notes) == 1


def test_a_norm_that_counts_its_steps_is_saved_whole(tmp_path: Path) -> None:
    import transformers

    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}
    model = transformers.ResNetModel(transformers.ResNetConfig(**sizes))
    adapted = pair(tmp_path, model, target_modules=["convolution"], modules_to_save=["normalization"])
    assert any(name.endswith("normalization.bias") for name in agrees(tmp_path, merged(adapted)).changes)


def test_an_adapter_of_a_class_that_stores_other_names_than_it_has(tmp_path: Path) -> None:
    import transformers

    sizes: dict[str, Any] = {"image_size": 16, "patch_size": 4, "embed_dim": 8, "depths": [1], "num_heads": [2]}
    model = transformers.SwinModel(transformers.SwinConfig(**sizes, window_size=2))
    wanted = merged(pair(tmp_path, model, target_modules="all-linear", bias="all"))
    with open_checkpoint(tmp_path / "base") as base, open_adapter(tmp_path / "lora") as adapter:
        expert, find = AdaptedCheckpoint(base, adapter, finder(base)), finder(base)
        assert {find(name) for name in wanted if not name.endswith("position_index")} >= expert.changes.keys()
        for name in wanted:
            if find(name) in expert.tensors:
                torch.testing.assert_close(expert.read(str(find(name))), wanted[name], rtol=1e-5, atol=1e-6)


def test_the_bias_of_a_tied_head_stands_twice_and_is_one(tmp_path: Path) -> None:
    import transformers

    sizes: dict[str, Any] = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.BertForMaskedLM(transformers.BertConfig(**sizes, intermediate_size=32))
    wanted = merged(pair(tmp_path, model, target_modules=["query"], bias="all"))
    with open_checkpoint(tmp_path / "base") as base, open_adapter(tmp_path / "lora") as adapter:
        expert = AdaptedCheckpoint(base, adapter, finder(base), ties_of(base))
        assert expert.tensors.keys() == base.tensors.keys() and "cls.predictions.decoder.bias" in adapter.whole
        torch.testing.assert_close(expert.read("cls.predictions.bias"), wanted["cls.predictions.bias"])


def test_an_embedding_of_a_classifier_has_no_head_to_part_from(tmp_path: Path) -> None:
    """Its configuration says of a tie what those of its family say."""
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 20,
    }  # fmt: skip
    model: Any = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes))
    names = ["query", "word_embeddings", "token_type_embeddings"]
    agrees(tmp_path, merged(pair(tmp_path, model, target_modules=names, task_type="SEQ_CLS", use_dora=True)))


def test_a_head_that_follows_its_embedding_answers_as_the_adapter_does(tmp_path: Path) -> None:
    """peft's own merge adds such an update twice; the model that was trained answers with it once."""
    from transformers import AutoModelForCausalLM

    names = ["q_proj", "embed_tokens"]
    adapted = pair(tmp_path, build("llama-mha-tied"), target_modules=names, ensure_weight_tying=True)
    with torch.no_grad():
        wanted = adapted(input_ids=tokens()).logits
    with open_checkpoint(tmp_path / "base") as base, open_adapter(tmp_path / "lora") as adapter:
        expert = AdaptedCheckpoint(base, adapter)
        module = AutoModelForCausalLM.from_config(type(adapted.config)(**expert.config))
        module.load_state_dict({name: expert.read(name) for name in expert.tensors}, strict=False)
        module.tie_weights()
        with torch.no_grad():
            torch.testing.assert_close(module.eval()(input_ids=tokens()).logits, wanted, rtol=1e-4, atol=1e-4)


def test_repeated_layers_are_refused_and_the_way_out_answers_as_the_adapter_does(tmp_path: Path, run_cli) -> None:
    """peft's own merge adds the updates of copies up, for they share what they are added to."""
    import json

    from transformers import AutoModelForCausalLM

    adapted = pair(tmp_path, build("llama-gqa-untied"), target_modules=["q_proj"], layer_replication=[[0, 2], [1, 2]])
    with torch.no_grad():
        wanted = adapted(input_ids=tokens()).logits
    words = ["merge", tmp_path / "lora", "--method", "task_arithmetic", "-o", tmp_path / "out"]
    refused = run_cli(*words, "--base", tmp_path / "base")
    assert refused.exit_code == 2 and "layer_range [0, 2], then [1, 2]" in refused.stderr
    slices = [{"sources": [{"model": str(tmp_path / "base"), "layer_range": span}]} for span in ([0, 2], [1, 2])]
    (tmp_path / "r.yaml").write_text(json.dumps({"merge_method": "passthrough", "slices": slices}))
    assert run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "stacked").exit_code == 0
    config = tmp_path / "lora" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "layer_replication": None}))
    ran = run_cli(*words, "--base", tmp_path / "stacked")
    assert ran.exit_code == 0, ran.stderr
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()(input_ids=tokens()).logits
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)


def test_a_bias_of_an_update_needs_one_in_the_base(tmp_path: Path) -> None:
    import json

    from safetensors.torch import load_file, save_file

    pair(tmp_path, build("llama-gqa-untied"), target_modules=["q_proj"])
    file, config = tmp_path / "lora" / "adapter_model.safetensors", tmp_path / "lora" / "adapter_config.json"
    factors = load_file(file)
    biases = {name.replace("weight", "bias"): torch.ones(len(b)) for name, b in factors.items() if "lora_B" in name}
    save_file(factors | biases, file, metadata={"format": "pt"})
    with pytest.raises(BadAdapter, match="lora_bias is False"):
        agrees(tmp_path, {})
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_bias": True}))
    with pytest.raises(BadAdapter, match=r"has no model\.layers\.0\.self_attn\.q_proj\.bias"):
        agrees(tmp_path, {})


@pytest.mark.parametrize("turned", [True, False])
def test_parameters_of_fused_experts(turned: bool, tmp_path: Path) -> None:
    import transformers

    sizes: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_local_experts": 3, "num_experts_per_tok": 2, "vocab_size": 64, "head_dim": 8,
    }  # fmt: skip
    model: Any = transformers.GptOssForCausalLM(transformers.GptOssConfig(**sizes))
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"] if turned else ["mlp.experts.gate_up_proj"]
    adapted = pair(tmp_path, model, target_modules=["q_proj"], target_parameters=names)
    expert = agrees(tmp_path, merged(adapted))
    assert sum(".experts." in name for name in expert.changes) == 2 * len(names)


@pytest.mark.parametrize("name", ["llama-gqa-untied", "llama-mha-tied"])
@pytest.mark.parametrize("rows", [90, 104])
@pytest.mark.parametrize(
    "config",
    [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}, {"trainable_token_indices": [80, 81]}],
    ids=["plain", "saved", "tokens"],
)
def test_another_vocabulary(name: str, rows: int, config: dict[str, Any], tmp_path: Path) -> None:
    adapted = pair(tmp_path, build(name), rows=rows, save=True, target_modules=["q_proj"], **config)
    tied = name == "llama-mha-tied"
    if tied and "modules_to_save" in config:
        with pytest.raises(BadAdapter, match=r"also its head.*--untie"):
            agrees(tmp_path, {})
        return
    expert = agrees(tmp_path, merged(adapted))
    assert expert.config["vocab_size"] == rows and expert.config["tie_word_embeddings"] is tied


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ],
    ids=["embedding", "head", "saved_head", "both"],
)
def test_a_head_is_untied_on_request_and_answers_as_the_adapter_does(config: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    adapted = pair(tmp_path, build("llama-mha-tied"), **config)
    with torch.no_grad():
        wanted = adapted(input_ids=tokens()).logits
    with open_checkpoint(tmp_path / "base") as base, open_adapter(tmp_path / "lora") as adapter:
        with pytest.raises(BadAdapter, match="--untie"):
            AdaptedCheckpoint(base, adapter)
        expert = AdaptedCheckpoint(base, adapter, untie=True)
        assert "lm_head.weight" in expert.tensors and expert.config["tie_word_embeddings"] is False
        module = AutoModelForCausalLM.from_config(type(adapted.config)(**expert.config))
        module.load_state_dict({name: expert.read(name) for name in expert.tensors}, strict=True)
        with torch.no_grad():
            torch.testing.assert_close(module.eval()(input_ids=tokens()).logits, wanted, rtol=1e-4, atol=1e-4)


def test_parameters_of_experts_that_the_base_stores_one_by_one(tmp_path: Path, run_cli) -> None:
    """The expert has the layout of the modules; beside the base it is merged in the layout of that."""
    import transformers
    from safetensors.torch import load_file

    sizes: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_local_experts": 3, "num_experts_per_tok": 2, "vocab_size": 64,
    }  # fmt: skip
    model: Any = transformers.MixtralForCausalLM(transformers.MixtralConfig(**sizes))
    wanted = merged(pair(tmp_path, model, target_modules="all-linear"))
    told = (tmp_path / "lora" / "adapter_config.json").read_text()
    assert "target_parameters" in told and "gate_up_proj" in told.partition("rank_pattern")[2]  # of twice the rank
    before = load_file(tmp_path / "base" / "model.safetensors")
    assert any(".experts.2.w3." in name for name in before)
    (tmp_path / "r.yaml").write_text(
        f"merge_method: passthrough\nmodels: [{{model: {tmp_path / 'base'}+{tmp_path / 'lora'}}}]\n"
    )
    assert run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "one").exit_code == 0
    alone = load_file(tmp_path / "one" / "model.safetensors")
    assert alone.keys() == wanted.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-6)
    words = ("--base", tmp_path / "base", "--method", "task_arithmetic", "-o", tmp_path / "two")
    ran = run_cli("merge", tmp_path / "lora", *words)
    assert ran.exit_code == 0, ran.stderr
    beside = load_file(tmp_path / "two" / "model.safetensors")
    assert beside.keys() == before.keys()
    for layer in range(2):
        experts = wanted[f"model.layers.{layer}.mlp.experts.gate_up_proj"]
        for e, matrix in enumerate(experts):
            halves = [beside[f"model.layers.{layer}.block_sparse_moe.experts.{e}.{w}.weight"] for w in ("w1", "w3")]
            torch.testing.assert_close(torch.cat(halves), matrix, rtol=1e-5, atol=1e-6)


def test_an_adapter_of_single_experts_on_a_base_that_joins_them(tmp_path: Path, run_cli) -> None:
    """As transformers 4 trained them; the output has the layout that they name, which stock classes read too."""
    import json

    import transformers
    from safetensors.torch import load_file, save_file

    sizes: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 24, "moe_intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 3, "num_experts_per_tok": 2,
        "vocab_size": 64,
    }  # fmt: skip
    model: Any = transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**sizes))
    model.save_pretrained(tmp_path / "base", save_original_format=False)
    model.save_pretrained(tmp_path / "single", save_original_format=True)
    single, factors = load_file(tmp_path / "single" / "model.safetensors"), {}
    modules = [name.removesuffix(".weight") for name in single if ".experts." in name]
    for module in modules:
        out, width = single[f"{module}.weight"].shape
        factors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(2, width)
        factors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(out, 2)
    (tmp_path / "lora").mkdir()
    save_file(factors, tmp_path / "lora" / "adapter_model.safetensors", metadata={"format": "pt"})
    told = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["gate_proj", "up_proj", "down_proj"]}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(told))
    (tmp_path / "r.yaml").write_text(
        f"merge_method: passthrough\nmodels: [{{model: {tmp_path / 'base'}+{tmp_path / 'lora'}}}]\n"
    )
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert after.keys() == single.keys() and len(modules) == 9
    for module in modules:
        a, b = (factors[f"base_model.model.{module}.lora_{x}.weight"] for x in "AB")
        torch.testing.assert_close(
            after[f"{module}.weight"], single[f"{module}.weight"] + 2 * b @ a, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(("called", "dora"), [("default", False), ("sft_2", True)])
def test_factors_that_keep_the_name_of_their_adapter(called: str, dora: bool, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    names = ["q_proj", "embed_tokens"]
    wanted = merged(pair(tmp_path, build("llama-gqa-untied"), target_modules=names, use_dora=dora))
    file = tmp_path / "lora" / "adapter_model.safetensors"
    kept = {
        name.removesuffix(".weight")
        + f".{called}" * ("lora_" in name)
        + ".weight" * (name.endswith((".weight", "magnitude_vector"))): tensor
        for name, tensor in load_file(file).items()
    }
    assert sum(f".{called}" in name for name in kept) > 2
    save_file(kept, file, metadata={"format": "pt"})
    agrees(tmp_path, wanted)
    save_file(kept | {name.replace(called, "ref"): one.clone() for name, one in kept.items()}, file, {"format": "pt"})
    with pytest.raises(BadAdapter, match="the file holds two adapters"):
        open_adapter(tmp_path / "lora")


@pytest.mark.parametrize("wrapped", ["_orig_mod.{}", "module.{}", "base_model.model._orig_mod.{1}"])
def test_factors_whose_names_hold_a_wrapper_of_training(wrapped: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    wanted = merged(pair(tmp_path, build("llama-gqa-untied"), target_modules=["q_proj"]))
    file = tmp_path / "lora" / "adapter_model.safetensors"
    named = {wrapped.format(name, name.removeprefix("base_model.model.")): t for name, t in load_file(file).items()}
    save_file(named, file, metadata={"format": "pt"})
    agrees(tmp_path, wanted)


def test_an_adapter_of_a_part_is_found_in_the_whole(tmp_path: Path, run_cli) -> None:
    """Trained without the class around it: a body alone, or the text model of one that sees pictures."""
    import transformers
    from safetensors.torch import load_file

    sizes: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 64, "head_dim": 8,
    }  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.Gemma3Config(text_config=sizes, vision_config={**vision, "image_size": 28, "patch_size": 14})
    wholes: dict[str, tuple[Any, Any]] = {
        "headless": (transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)), transformers.LlamaModel),
        "seeing": (transformers.Gemma3ForConditionalGeneration(config), transformers.Gemma3ForCausalLM),
    }
    for name, (whole, part) in wholes.items():
        folder = tmp_path / name
        whole.save_pretrained(folder / "base")
        inner = part(whole.config.get_text_config())
        pair(folder / "trained", inner, target_modules=["q_proj"])
        (folder / "r.yaml").write_text(
            f"merge_method: passthrough\nmodels: [{{model: {folder / 'base'}+{folder / 'trained' / 'lora'}}}]\n"
        )
        ran = run_cli("merge", folder / "r.yaml", "-o", folder / "out")
        assert ran.exit_code == 0, ran.stderr
        factors = load_file(folder / "trained" / "lora" / "adapter_model.safetensors")
        before, after = (load_file(folder / one / "model.safetensors") for one in ("base", "out"))
        changed = {key for key in before if not before[key].equal(after[key])}
        assert len(changed) == 2 and all("vision" not in key for key in changed), changed
        for key in changed:
            (a,) = (
                factors[one] for one in factors if f"layers.{key[key.index('layers.') + 7]}." in one and "_A" in one
            )
            (b,) = (
                factors[one] for one in factors if f"layers.{key[key.index('layers.') + 7]}." in one and "_B" in one
            )
            torch.testing.assert_close(after[key], before[key] + 4 * b @ a, rtol=1e-5, atol=1e-6)


def put_on(run_cli, folder: Path, *more: object, base: str = "base", lora: str = "lora") -> Any:
    words = ("merge", folder / lora, "--base", folder / base, "--method", "task_arithmetic", "-o", folder / "out")
    return run_cli(*words, "--overwrite", *more)


def test_parameters_may_be_named_without_their_module(run_cli, tmp_path: Path) -> None:
    """A module with an adapted parameter of its own wraps the adapted modules below it."""
    import transformers

    sizes: dict[str, Any] = {"vocab_size": 96, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 1}
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))
    adapted = pair(tmp_path, model, target_modules=["in_proj"], target_parameters=["A_log"])
    ran = put_on(run_cli, tmp_path)
    assert ran.exit_code == 0, ran.stderr
    with torch.no_grad():
        found, wanted, before = (
            one.eval()(input_ids=tokens()).logits
            for one in (
                transformers.MambaForCausalLM.from_pretrained(tmp_path / "out"),
                adapted,
                transformers.MambaForCausalLM.from_pretrained(tmp_path / "base"),
            )
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, wanted, atol=1e-3)


@pytest.mark.parametrize("before", ["another head", "other labels"])
def test_a_base_of_another_class_is_refused_and_the_way_out_answers_as_the_adapter_does(
    before: str, run_cli, tmp_path: Path
) -> None:
    """trl#297, trl#368, sentence-transformers#3980: the base knows the words, the trained head is the adapter's."""
    import peft
    from transformers import AutoModelForSequenceClassification as Classifier

    model = build("llama-gqa-untied")
    if before == "other labels":
        model.config.num_labels = 2
        model = Classifier.from_config(model.config)
    model.save_pretrained(tmp_path / "base")
    asked: dict[str, Any] = {"num_labels": 3, "ignore_mismatched_sizes": True, "pad_token_id": 0}
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(7)
        config = peft.LoraConfig(r=2, task_type="SEQ_CLS", target_modules=["q_proj"])
        adapted = peft.get_peft_model(Classifier.from_pretrained(tmp_path / "base", **asked), config)
        for parameter in filter(lambda one: one.requires_grad, adapted.parameters()):
            parameter.data += 0.1 * torch.randn(parameter.shape)
        adapted.save_pretrained(tmp_path / "lora")
        torch.manual_seed(8)
        Classifier.from_pretrained(tmp_path / "base", **asked).save_pretrained(tmp_path / "classifier")
    refused = put_on(run_cli, tmp_path)
    assert refused.exit_code == 2 and "AutoModelForSequenceClassification.from_pretrained(BASE" in refused.stderr
    assert "num_labels=3" in refused.stderr
    ran = put_on(run_cli, tmp_path, base="classifier")
    assert ran.exit_code == 0, ran.stderr
    with torch.no_grad():
        found, wanted = (
            one.eval()(input_ids=tokens()).logits for one in (Classifier.from_pretrained(tmp_path / "out"), adapted)
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_trained_rows_beyond_those_of_the_base_are_refused_with_the_way_out(run_cli, tmp_path: Path) -> None:
    pair(tmp_path, build("llama-gqa-untied"), rows=100, target_modules=["q_proj"], trainable_token_indices=[96, 97])
    ran = put_on(run_cli, tmp_path)
    assert ran.exit_code == 2 and "resize_token_embeddings(ROWS)" in ran.stderr


def test_biases_of_a_head_of_two_parts_are_saved_once_more(tmp_path: Path, run_cli) -> None:
    """peft with bias="all" writes those of what is saved whole under modules_to_save.default too."""
    import peft
    from safetensors.torch import load_file
    from transformers import RobertaConfig, RobertaForSequenceClassification

    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(RobertaConfig(**sizes, intermediate_size=24, max_position_embeddings=32))
    model.save_pretrained(tmp_path / "base")
    lora = peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS", bias="all")
    with quiet():
        trained = peft.get_peft_model(model, lora)
        for parameter in filter(lambda one: one.requires_grad, trained.parameters()):
            parameter.data += 0.1 * torch.randn(parameter.shape)
        trained.save_pretrained(tmp_path / "adapter")
        wanted = trained.merge_and_unload().state_dict()
    assert any(
        "modules_to_save.default" in one for one in load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    )
    words = ("merge", tmp_path / "adapter", "--base", tmp_path / "base", "--method", "linear", "-q")
    ran = run_cli(*words, "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    found = load_file(tmp_path / "out" / "model.safetensors")
    for name in ("classifier.dense.bias", "classifier.out_proj.bias", "roberta.encoder.layer.0.output.dense.bias"):
        torch.testing.assert_close(found[name], wanted[name])


def test_an_adapter_in_a_folder_of_its_name_is_named(run_cli, tmp_path: Path) -> None:
    """peft keeps adapters that are not called default below the folder; trainers leave pickles of theirs beside it."""
    pair(tmp_path, build("llama-gqa-untied"), target_modules=["q_proj"])
    (tmp_path / "run").mkdir()
    (tmp_path / "lora").rename(tmp_path / "run" / "math")
    (tmp_path / "run" / "training_args.bin").write_bytes(b"\x80\x02")
    ran = put_on(run_cli, tmp_path, lora="run")
    assert ran.exit_code == 2 and f"give {tmp_path / 'run' / 'math'}, which holds an adapter" in ran.stderr
    assert put_on(run_cli, tmp_path, lora="run/math").exit_code == 0


def test_what_lies_beside_an_adapter_is_refused_where_it_is_part_of_it_and_named_else(run_cli, tmp_path: Path) -> None:
    """vllm#2816: rows of added tokens; LlamaFactory#5939: the head of a reward."""
    pair(tmp_path, build("llama-gqa-untied"), target_modules=["q_proj"])
    (tmp_path / "lora" / "value_head.safetensors").write_bytes(b"x")
    ran = put_on(run_cli, tmp_path)
    assert ran.exit_code == 0 and "lora: value_head.safetensors of its folder stay behind" in ran.stderr
    (tmp_path / "lora" / "new_embeddings.safetensors").write_bytes(b"x")
    ran = put_on(run_cli, tmp_path)
    assert ran.exit_code == 2 and "rows of added tokens beside the adapter" in ran.stderr


def test_keys_that_say_how_an_adapter_was_trained_say_nothing_of_its_weights(tmp_path: Path) -> None:
    """Those of ms-swift and of peft 0.1, which peft itself passes over."""
    swift = {"swift_type": "LORA", "lora_dtype": "AUTO", "lorap_lr_ratio": 16.0, "lorap_emb_lr": 1e-6}
    older = {"merge_weights": True, "enable_lora": None, "peft_type": "LORA", "target_modules": ["q_proj"], "r": 3}
    (tmp_path / "adapter_config.json").write_text(json.dumps(swift | older))
    assert read_adapter_config(tmp_path).rank("q_proj") == 3
