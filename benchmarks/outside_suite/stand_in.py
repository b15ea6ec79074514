"""Tiny offline models and one check, in the place of a file that mergekit's source distribution lacks.

Copied as ``tests/common.py`` beside its tests; written from the names they import and what they expect of them.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mergekit.config import MergeConfiguration
from mergekit.io import LazyTensorLoader
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from transformers import (
    CLIPVisionConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

_TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}


def make_picollama(path: Any, vocab_size: int = 64) -> str:
    """Write a Llama of two layers."""
    return _save(LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, num_key_value_heads=2, **_TEXT)), path)


def make_picogranite(path: Any, vocab_size: int = 64) -> str:
    """Write a Granite of two layers."""
    return _save(GraniteForCausalLM(GraniteConfig(vocab_size=vocab_size, num_key_value_heads=2, **_TEXT)), path)


def make_gpt2size(path: Any) -> str:
    """Write a GPT-2 with the number of layers of the published one, and narrow."""
    return _save(GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_head=4, n_layer=12, n_positions=32)), path)


def make_picoLlaVa(path: Any) -> str:
    """Write a LLaVA with two layers on either side."""
    vision = CLIPVisionConfig(image_size=28, patch_size=14, projection_dim=32, **_TEXT)
    text = LlamaConfig(vocab_size=64, num_key_value_heads=2, **_TEXT)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=63)
    return _save(LlavaForConditionalGeneration(config), path)


def _save(model: Any, path: Any) -> str:
    model.save_pretrained(path)
    return str(path)


def run_and_check_merge(
    config: MergeConfiguration,
    check_nan: bool = True,
    check_tensors: bool = True,
    validate: Callable[[str], None] | None = None,
    index_json_name: str | None = None,
    auto_arch: bool = False,
) -> None:
    """Merge into a fresh folder; all tensors must be there and finite."""
    del index_json_name, auto_arch
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "merged"
        run_merge(config, str(out), MergeOptions(quiet=True))
        assert (out / "config.json").is_file()
        assert list(out.glob("model*.safetensors"))
        loader = LazyTensorLoader.from_disk(out)
        if check_nan:
            for name in loader.index.tensor_paths:
                assert torch.isfinite(loader.get_tensor(name)).all(), name
        if check_tensors and config.models:
            first = LazyTensorLoader.from_disk(str(config.models[0].model))
            missing = set(first.index.tensor_paths) - set(loader.index.tensor_paths)
            assert not missing, missing
        if validate is not None:
            validate(str(out))
