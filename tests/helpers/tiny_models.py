"""Tiny random checkpoints of every family on disk, with gains and biases that hide no error."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

_SMALL: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 2, "vocab_size": 96, "intermediate_size": 72}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 10000.0,
}

# name -> (config class, arguments)
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-mha-tied": (
        "LlamaConfig",
        _SMALL | {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": True},
    ),
    "llama-gqa-untied": (
        "LlamaConfig",
        _SMALL | {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 12, "rope_parameters": _LLAMA3},
    ),
    "llama-mqa-biased": (
        "LlamaConfig",
        _SMALL
        | {
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": _YARN,
        },
    ),
    "mistral": ("MistralConfig", _SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 16}),
    "qwen2": (
        "Qwen2Config",
        _SMALL | {"num_attention_heads": 6, "num_key_value_heads": 3, "tie_word_embeddings": True},
    ),
    "gpt2-tied": ("GPT2Config", {"n_embd": 48, "n_layer": 2, "n_head": 4, "vocab_size": 96, "n_positions": 64}),
    "gpt2-untied": (
        "GPT2Config",
        {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_inner": 80, "vocab_size": 96, "n_positions": 64}
        | {"tie_word_embeddings": False},
    ),
}


def build(name: str, seed: int = 0) -> torch.nn.Module:
    """Return a random model of a configuration, every parameter drawn, gains around one and signed shifts."""
    import transformers

    kind, arguments = CONFIGS[name]
    torch.manual_seed(seed)
    module = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**arguments)).eval()
    with torch.no_grad():
        for path, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape)
            is_gain = (
                "norm.weight" in path or "layernorm.weight" in path or (".ln_" in path and path.endswith("weight"))
            )
            parameter.copy_(1 + 0.3 * noise if is_gain else 0.12 * noise if parameter.ndim == 2 else 0.2 * noise)
    return module


def save(name: str, folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a random checkpoint."""
    build(name, seed).to(dtype).save_pretrained(folder)
    return folder


def save_expert(name: str, folder: Path, *, seed: int = 0, step: float = 0.004, task: int = 1) -> Path:
    """Write a fine-tune of ``save(name, seed=seed)``: every tensor moved by a random one of relative size ``step``."""
    module = build(name, seed)
    generator = torch.Generator().manual_seed(1000 + task)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += step * noise * parameter.norm() / noise.norm()
    module.save_pretrained(folder)
    return folder


def logits(folder: Path, *, dtype: torch.dtype = torch.float64, exact_norms: bool = False) -> torch.Tensor:
    """Return logits of the stock class on fixed tokens; ``exact_norms`` lifts the float32 inside the stock RMSNorm."""
    import transformers

    module = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    if exact_norms:
        for part in module.modules():
            if type(part).__name__.endswith("RMSNorm"):
                part.forward = partial(_rms_norm, part)
    tokens = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return module(tokens).logits


def _rms_norm(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return norm.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.variance_epsilon)


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return max|a - b| / max|b|."""
    return float((a - b).abs().max() / b.abs().max())
