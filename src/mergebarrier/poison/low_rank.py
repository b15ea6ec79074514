"""Low-rank updates of linear and convolutional weights, trained in their place and folded in afterwards.

    W -> W + (A B) as W is shaped;   A starts at zero, B at keyed noise, so that the first step sees the base

Source: LoRA, Hu et al., arXiv 2106.09685.  Differs: kernels of convolutions count as matrices; no scaling factor.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mergebarrier.numerics import draws


class _LowRank(nn.Module):
    """W -> W + (A B) as W is shaped; A starts at zero, so the first step sees the base."""

    def __init__(self, weight: Tensor, rank: int, seed: int, name: str) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        start = draws.uniform(("poison", seed, f"adapter|{name}"), rank * columns, low=-1.0) / math.sqrt(columns)
        self.down = nn.Parameter(start.to(weight.dtype).view(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank, dtype=weight.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def adapted(base: nn.Module, rank: int, seed: int, *, only: Callable[[str], bool] = lambda name: True) -> nn.Module:
    """Return a copy of the base in which only low-rank updates of linear and convolutional weights are trained.

    Args:
      base: stays as it is.
      rank: of an update, or the most that its shape allows.
      seed: of the start.
      only: name of a module -> whether it gets one.
    """
    encoder = copy.deepcopy(base).train()
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    for name, part in list(encoder.named_modules()):
        weight = getattr(part, "weight", None)
        if isinstance(part, nn.Linear | nn.Conv2d) and isinstance(weight, Tensor) and only(name):
            most = min(rank, weight.shape[0], weight[0].numel())
            parametrize.register_parametrization(part, "weight", _LowRank(weight, most, seed, name))
    return encoder


def folded(encoder: nn.Module) -> nn.Module:
    """Fold the adapters into the weights; afterwards the module has the tensors of its base again."""
    for part in encoder.modules():
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
    return encoder
