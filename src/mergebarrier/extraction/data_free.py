"""A clone without any picture: a generator draws what the clone and the victim disagree about most.

    clone      min over S of | centred S(G(z)) - centred_log(p(G(z))) |_1
    generator  max over G of the same; the victim gives no gradient, so it is estimated along m directions u, |u| = 1:
               g(x) = mean over u of d (L(x + e u) - L(x)) / e  u,      d numbers in a picture; each costs a query

Source: DFME (arXiv 2011.14779).  Differs: the honest L1 on the logarithm of probabilities, and a budget that counts
every picture that the victim is asked about.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from mergebarrier.extraction.answers import Answers
from mergebarrier.extraction.cloning import disagreement
from mergebarrier.numerics import draws
from mergebarrier.parameters import check_values, number, whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DataFree:
    """Hyper-parameters of the attack."""

    noise: int = whole(64, help="Numbers that a picture is drawn from.", low=1, high=4096)
    clone_steps: int = whole(5, help="Steps of the clone for one of the generator.", low=1, high=100)
    directions: int = whole(1, help="Directions of the estimated gradient.", low=1, high=64)
    radius: float = number(1e-3, help="How far a picture is moved along each.", low=0, above=True, high=1)

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)

    def queries(self, batch: int) -> int:
        """Return how many pictures the victim sees in one round."""
        return batch * (self.clone_steps + 1 + self.directions)


class Generator(nn.Module):
    """From noise to pictures in [0, 1]: a linear map to an eighth of the side, then three doublings."""

    def __init__(self, noise: int, shape: tuple[int, int, int], *, seed: int, width: int = 32) -> None:
        """Build it for pictures of a shape (channels, height, width); its weights are drawn from a seed."""
        super().__init__()
        channels, height, wide = shape
        self._shape, self._small = shape, (width, -(-height // 8), -(-wide // 8))
        with torch.device("meta"):  # torch draws no weights there, so its own random state stays as it is
            self.first = nn.Linear(noise, width * self._small[1] * self._small[2])
            self.layers = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(3)])
            self.norms = nn.ModuleList([nn.GroupNorm(8, width, affine=False) for _ in range(3)])
            self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.to_empty(device="cpu")
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                bound = math.sqrt(3 / parameter[0].numel()) if parameter.dim() > 1 else 0.0
                stream = ("extraction", seed, f"generator|{name}")
                parameter.copy_(draws.uniform(stream, *parameter.shape, low=-bound, high=bound))

    def forward(self, z: Tensor) -> Tensor:
        """Return pictures, Float32[Tensor, "n c h w"], for Float32[Tensor, "n noise"]."""
        x = self.first(z).view(-1, *self._small)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = nn.functional.leaky_relu(norm(layer(nn.functional.interpolate(x, scale_factor=2))), 0.2)
        return cast("Tensor", self.last(x).sigmoid()[:, :, : self._shape[1], : self._shape[2]])


def data_free_loss(
    pictures: Tensor, clone: Callable[[Tensor], Tensor], answers: Answers, directions: Tensor, radius: float
) -> Tensor:
    """Return what the generator minimises: its value is minus the disagreement, its gradient the estimated one.

    Args:
      pictures:   of the generator, with a graph.
      clone:      pictures -> logits.
      answers:    of the victim.
      directions: Float32[Tensor, "m n c h w"], each of length one per picture.
      radius:     of the differences.
    """
    with torch.no_grad():
        start = disagreement(clone(pictures), answers(pictures))
        slope = torch.zeros_like(pictures)
        for u in directions:
            near = pictures + radius * u
            moved = disagreement(clone(near), answers(near))
            slope += ((moved - start) / radius).view(-1, 1, 1, 1) * u
        slope *= pictures[0].numel() / len(directions)
    return -(start.mean() + ((pictures - pictures.detach()) * slope).flatten(1).sum(1).mean())
