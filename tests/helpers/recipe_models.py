"""Tensors of a model with several layers, for recipes."""

import torch
from torch import Tensor


def layered(seed: int, layers: int = 3, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return an embedding, ``layers`` layers of two tensors, a norm and a head, all random."""
    shapes = {"model.embed_tokens.weight": (10, 6), "model.norm.weight": (6,), "lm_head.weight": (10, 6)}
    for layer in range(layers):
        shapes |= {f"model.layers.{layer}.mlp.up_proj.weight": (12, 6), f"model.layers.{layer}.norm.weight": (6,)}
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
