"""A base with an adapter is, tensor by tensor, what peft makes of the two."""

from pathlib import Path

import pytest
import torch

from mergebarrier.checkpoint import AdaptedCheckpoint, Adapter, WeightChange, open_adapter, open_checkpoint
from mergebarrier.errors import BadAdapter
from model_folders import write_folder
from peft_adapters import loaded, logits_of, merged_by_peft, save_adapter
from tiny_models import save

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
EVERY = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
CASES = {
    "plain": ("llama-gqa-untied", {"r": 4, "lora_alpha": 8, "target_modules": EVERY}),
    "rslora": ("llama-gqa-untied", {"r": 4, "lora_alpha": 8, "target_modules": EVERY, "use_rslora": True}),
    "rank_pattern": (
        "llama-mha-tied",
        {
            "r": 4,
            "lora_alpha": 6,
            "target_modules": EVERY,
            "use_rslora": True,
            "rank_pattern": {
                "layers.0.self_attn.q_proj": 7,
                r"^model\.layers\.[1-9]\.mlp\.(up|down)_proj": 3,
                "up_proj": 2,
            },
            "alpha_pattern": {r"layers\.\d+\.mlp\..*_proj": 5, "k_proj": 1},
        },
    ),
    "regular_expression": ("qwen2", {"r": 3, "target_modules": r".*\.layers\.1\..*(q|v)_proj"}),
    "layers": ("qwen2", {"r": 3, "target_modules": ATTENTION, "layers_to_transform": [1], "layers_pattern": "layers"}),
    "all_linear": ("mistral", {"r": 2, "target_modules": "all-linear"}),
    "conv1d": ("gpt2-tied", {"r": 4, "target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "bias": ("llama-mqa-biased", {"r": 4, "target_modules": ["q_proj", "down_proj"], "bias": "all"}),
    "bias_of_conv1d": (
        "gpt2-untied",
        {
            "r": 4,
            "target_modules": ["c_attn"],
            "fan_in_fan_out": True,
            "bias": "lora_only",
            "modules_to_save": ["ln_f"],
        },
    ),
    "whole_head": ("llama-gqa-untied", {"r": 4, "target_modules": ["v_proj"], "modules_to_save": ["lm_head", "norm"]}),
    "dora": ("llama-gqa-untied", {"r": 4, "lora_alpha": 8, "target_modules": EVERY, "use_dora": True}),
    "dora_and_bias": ("llama-mqa-biased", {"r": 4, "target_modules": ["q_proj"], "use_dora": True, "bias": "all"}),
    "bias_of_the_update": (
        "llama-mqa-biased",
        {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], "lora_bias": True, "bias": "all"},
    ),
    "bias_of_the_update_of_conv1d": (
        "gpt2-tied",
        {"r": 4, "target_modules": ["c_attn"], "lora_bias": True, "fan_in_fan_out": True},
    ),
    "parameters_of_modules": (
        "llama-gqa-untied",
        {
            "r": 4,
            "target_modules": ["v_proj"],
            "target_parameters": ["q_proj.weight", "down_proj.weight"],
            "rank_pattern": {"q_proj.weight": 3},
        },
    ),
    "rows_of_embedding_and_head": (
        "llama-gqa-untied",
        {
            "r": 4,
            "target_modules": ["v_proj"],
            "trainable_token_indices": {"embed_tokens": [5, 1], "lm_head": [95]},
        },
    ),
    "positions": ("gpt2-tied", {"r": 4, "target_modules": ["c_attn", "wpe"], "fan_in_fan_out": True}),
    "head_and_embedding": ("llama-gqa-untied", {"r": 4, "target_modules": ["v_proj", "lm_head", "embed_tokens"]}),
}


def summed(adapter: Adapter, change: WeightChange | None) -> torch.Tensor | float:
    """s |B| |A| in the layout on disk: the size of what a product sums."""
    if change is not None and change.biased is not None:
        assert change.biased.bias is not None
        return change.biased.scale * adapter.weights.read(change.biased.bias.name).abs().double()
    if change is None or change.factors is None:
        return 0.0
    b, a = adapter.read(change.factors.module)
    size = change.factors.scale * (b.abs() @ a.abs())
    return size.T if change.transposed else size


@pytest.mark.parametrize("case", CASES)
def test_an_expert_is_what_peft_merges_to_within_one_rounding(case: str, tmp_path: Path) -> None:
    name, config = CASES[case]
    save_adapter(tmp_path / "lora", name, **config)
    wanted = merged_by_peft(name, tmp_path / "lora")
    with open_checkpoint(save(name, tmp_path / "base")) as base, open_adapter(tmp_path / "lora") as adapter:
        expert = AdaptedCheckpoint(base, adapter)
        assert expert.changes.keys() <= base.tensors.keys() and len(expert.changes) >= 2
        for tensor, info in expert.tensors.items():
            ours, theirs, before = expert.read(tensor), wanted[tensor], base.read(tensor)
            assert ours.shape == theirs.shape and ours.dtype == before.dtype == torch.float32
            # peft sums the product and then adds it, in float32: a rounding of each, relative to what is summed;
            # DoRA's norm, quotient and product round too.
            size = theirs.abs() + before.abs() + summed(adapter, expert.changes.get(tensor))
            assert ((ours - theirs).abs() <= (4 if "dora" in case else 1) * 2**-23 * size).all(), tensor
            assert torch.equal(ours, before) == (tensor not in expert.changes), tensor
            if info.shape and info.shape[0] > 3:
                assert torch.equal(expert.read_rows(tensor, 1, 3), ours[1:3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_an_expert_is_rounded_once_to_the_dtype_of_the_base(dtype: torch.dtype, tmp_path: Path) -> None:
    save_adapter(tmp_path / "lora", "llama-mha-tied", r=4, target_modules=EVERY)
    wanted = merged_by_peft("llama-mha-tied", tmp_path / "lora", dtype=dtype)
    folder = save("llama-mha-tied", tmp_path / "base", dtype=dtype)
    with open_checkpoint(folder) as base, open_adapter(tmp_path / "lora") as adapter:
        expert = AdaptedCheckpoint(base, adapter)
        for tensor, change in expert.changes.items():
            assert change.factors is not None
            b, a = adapter.read(change.factors.module)
            b *= change.factors.scale
            exact = base.read(tensor).double() + b @ a
            ours, theirs = expert.read(tensor), wanted[tensor]
            assert ours.dtype == dtype and torch.equal(ours, exact.to(dtype))
            size = exact.abs() + (b.abs() @ a.abs())
            assert ((ours.double() - theirs.double()).abs() <= torch.finfo(dtype).eps * size).all(), tensor


def test_peft_computes_with_what_it_loads_and_we_merge(tmp_path: Path) -> None:
    name, config = CASES["rank_pattern"]
    module = loaded(name, save_adapter(tmp_path / "lora", name, **config))
    before = logits_of(module)
    with open_checkpoint(save(name, tmp_path / "base")) as base, open_adapter(tmp_path / "lora") as adapter:
        expert = AdaptedCheckpoint(base, adapter)
        plain = module.unload()
        plain.load_state_dict({tensor: expert.read(tensor) for tensor in expert.tensors}, strict=False)
    torch.testing.assert_close(logits_of(plain), before, rtol=1e-4, atol=1e-4)


def test_an_adapter_of_another_base_is_refused_with_both_shapes(tmp_path: Path) -> None:
    save_adapter(tmp_path / "lora", "llama-gqa-untied", r=4, target_modules=EVERY)
    with open_checkpoint(save("qwen2", tmp_path / "base")) as base, open_adapter(tmp_path / "lora") as adapter:
        with pytest.raises(BadAdapter, match=r"o_proj.*\(48, 72\).*\(48, 48\)"):
            AdaptedCheckpoint(base, adapter)


def test_a_head_that_is_tied_is_not_adapted_alone(tmp_path: Path) -> None:
    folder = save("llama-mha-tied", tmp_path / "base")
    for module, words in (("lm_head", "tied to the embedding"), ("embed_tokens", "also its head")):
        save_adapter(tmp_path / module, "llama-mha-tied", r=4, target_modules=["q_proj", module])
        with open_checkpoint(folder) as base, open_adapter(tmp_path / module) as adapter:
            with pytest.raises(BadAdapter, match=words):
                AdaptedCheckpoint(base, adapter)


def test_the_digests_are_those_of_the_tensors_as_they_are_read(tmp_path: Path) -> None:
    save_adapter(tmp_path / "lora", "qwen2", r=4, target_modules=["q_proj"])
    folder = save("qwen2", tmp_path / "base")
    with open_checkpoint(folder) as base, open_adapter(tmp_path / "lora") as adapter:
        expert = AdaptedCheckpoint(base, adapter)
        tensors = {name: expert.read(name) for name in base.tensors}
        written = write_folder(tmp_path / "copy", tensors)
        with open_checkpoint(written) as copy:
            assert copy.digests() == expert.digests() and copy.content_digest() == expert.content_digest()
