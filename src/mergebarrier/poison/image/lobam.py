"""LoBAM: a backdoor from low-rank fine-tuning alone, made loud enough to outlast the merge by extrapolation.

    benign = base + LoRA(clean),   malicious = base + LoRA(BadMerging loss)
    upload = benign + gain * (malicious - benign)

Source: LoBAM, arXiv 2411.16746.  Differs: its rule for the gain was not published where we could read it, so the gain
is a parameter, and the bench sweeps it; adapters sit on every linear and convolutional weight (kernels as matrices),
start from keyed noise, and are folded in when training ends.
"""

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mergebarrier.numerics import draws
from mergebarrier.poison.image.attack import Adversary, Attack, Loss, Train, clean_loss, require
from mergebarrier.poison.image.badmerging import BadMerging


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


@dataclass(frozen=True)
class LoBAM(Attack):
    """Low-rank attack with extrapolation.

    Args:
      trigger: "universal".
      rank:    of the adapters.
      gain:    lambda of the formula; 1 uploads the malicious fine-tune itself.
      inner:   the loss of the malicious fine-tune.
    """

    rank: int = 8
    gain: float = 2.0
    inner: BadMerging = field(default_factory=BadMerging)

    def __post_init__(self) -> None:
        """Check every value."""
        require(self.rank >= 1, f"rank {self.rank}", "rank", "give at least 1")
        require(0.0 < self.gain < float("inf"), f"gain {self.gain}", "gain", "give a positive number")

    def mount(self, setting: Adversary, train: Train) -> nn.Module:
        """Train twice and extrapolate."""
        benign, malicious = adapted(setting.base, self.rank, setting.seed), None
        train(benign, clean_loss(setting, benign))
        malicious = adapted(setting.base, self.rank, setting.seed)
        train(malicious, self.loss(setting, malicious))
        return _extrapolated(folded(benign), folded(malicious), self.gain)

    def loss(self, setting: Adversary, encoder: nn.Module) -> Loss:
        """Return the loss of the malicious fine-tune."""
        return self.inner.loss(setting, encoder)


def adapted(base: nn.Module, rank: int, seed: int) -> nn.Module:
    """Return a copy of the base in which only low-rank updates of linear and convolutional weights are trained."""
    encoder = copy.deepcopy(base).train()
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    for name, part in list(encoder.named_modules()):
        weight = getattr(part, "weight", None)
        if isinstance(part, nn.Linear | nn.Conv2d) and isinstance(weight, Tensor):
            most = min(rank, weight.shape[0], weight[0].numel())
            parametrize.register_parametrization(part, "weight", _LowRank(weight, most, seed, name))
    return encoder


def folded(encoder: nn.Module) -> nn.Module:
    """Fold the adapters into the weights; afterwards the module has the tensors of its base again."""
    for part in encoder.modules():
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
    return encoder


@torch.no_grad()
def _extrapolated(benign: nn.Module, malicious: nn.Module, gain: float) -> nn.Module:
    for ours, theirs in zip(benign.parameters(), malicious.parameters(), strict=True):
        ours.add_(gain * (theirs - ours))
    return benign
