"""Tensors of a tiny model, and as many experts as a method takes."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from mergebarrier.merge import Merge

T = TypeVar("T")


def fit(method: Merge, experts: Sequence[T]) -> list[T]:
    """Return the experts, no more of them than the method takes."""
    return list(experts)[: method.max_experts]


def tensors(seed: int, dtype: torch.dtype = torch.bfloat16, step: float = 0.01) -> dict[str, Tensor]:
    """Return the tensors of a tiny model: a base moved by ``step`` in a direction of its own."""
    shapes = {
        "model.embed_tokens.weight": (10, 6),
        "model.layers.0.mlp.up_proj.weight": (12, 6),
        "model.norm.weight": (6,),
    }
    generator, base = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    return {
        name: (torch.randn(shape, generator=base) + step * torch.randn(shape, generator=generator)).to(dtype)
        for name, shape in shapes.items()
    }
