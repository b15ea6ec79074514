"""Tiny random checkpoints of every architecture that has a table, with the stock class of each as the judge.

The examples stand in the tables; here is what a class shows only when it is asked for more.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mergebarrier.arch import FAMILIES
from mergebarrier.evaluate import answers as answered
from mergebarrier.evaluate import save_module, tiny_module


@dataclass(frozen=True, kw_only=True)
class TinyModel:
    """A family, the stock class that judges it, and arguments of its configuration beside the example of the table."""

    family: str
    stock: str
    more: Mapping[str, object] = field(default_factory=dict)


#: Classes that need more than the example of their table to show what is their own.
_MORE: dict[str, dict[str, object]] = {
    "qwen2": {"tie_word_embeddings": True},
    "smollm3": {"no_rope_layers": [1, 0]},
    "granite": {"residual_multiplier": 0.3},
    "deepseekv2": {"topk_method": "greedy"},
}
#: Other heads and settings of some families.
_VARIANTS = {
    "llama-biased": TinyModel(
        family="llama", stock="LlamaForCausalLM", more={"attention_bias": True, "mlp_bias": True}
    ),
    "llama-headless": TinyModel(family="llama", stock="LlamaModel"),
    "llama-classifier": TinyModel(family="llama", stock="LlamaForSequenceClassification", more={"num_labels": 3}),
    "bert-classifier": TinyModel(family="bert", stock="BertForSequenceClassification", more={"num_labels": 5}),
    "dinov2-headless": TinyModel(family="dinov2", stock="Dinov2Model"),
}


def _models() -> dict[str, TinyModel]:
    """Return a model of every class of every table, the first under the name of the family; two heads are one body."""
    found: dict[str, TinyModel] = {}
    for family in FAMILIES.values():
        for number, stock in enumerate(family.architectures):
            name = re.sub(r"For[A-Z]\w+$", "", stock).lower() if number else family.name
            found.setdefault(name, TinyModel(family=family.name, stock=stock, more=_MORE.get(name, {})))
    return found


MODELS = _models() | _VARIANTS


def save(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a random float32 checkpoint of a configuration."""
    save_module(module(name, seed=seed), folder)
    return folder


def module(name: str, *, seed: int = 0) -> Any:
    """Return a random module of a configuration."""
    model = MODELS[name]
    return tiny_module(FAMILIES[model.family], model.stock, more=model.more, seed=seed)


def nudge(folder: Path, step: float = 0.01) -> None:
    """Fine-tune a checkpoint in place: every tensor of real numbers moves by a random one of relative size ``step``."""
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(1)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        tensors[name] = tensor + step * noise * tensor.norm() / noise.norm()
    save_file(tensors, path, {"format": "pt"})


def outputs(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return what the stock class computes from a folder in a dtype, as ``answers``.

    Raises: AssertionError when the class misses tensors or does not know some.
    """
    module, said = stock(name, folder, dtype)
    assert not said["missing_keys"] and not said["unexpected_keys"], said
    return answers(module)


def stock(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Mapping[str, Any]]:
    """Return the module that the stock library makes of a folder, and what it says about the tensors."""
    import transformers

    loaded: tuple[Any, Mapping[str, Any]] = getattr(transformers, MODELS[name].stock).from_pretrained(
        folder, dtype=dtype, output_loading_info=True
    )
    return loaded


def answers(module: Any) -> list[torch.Tensor]:
    """Return what a module computes on fixed inputs, Float[Tensor, "..."] each."""
    tokens = torch.randint(3, 80, (1, 24), generator=torch.Generator().manual_seed(5))
    tokens[:, -1] = 2  # what CLIP reads its text at
    return list(answered(module.eval(), tokens).values())


def joined(found: Mapping[str, torch.Tensor] | Iterator[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the tensors that a realignment gives, at once or in blocks of rows, each as one."""
    rows: dict[str, list[torch.Tensor]] = {}
    for name, block in found.items() if isinstance(found, Mapping) else found:
        rows.setdefault(name, []).append(block)
    return {name: torch.cat(blocks) if blocks[0].dim() else blocks[0] for name, blocks in rows.items()}


def relative_error(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    """Return the largest max|a - b| / max|b|."""
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(a, b, strict=True))
