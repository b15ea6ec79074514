"""Tensors of a tiny model, for tests that need whole folders."""

import torch
from torch import Tensor


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
