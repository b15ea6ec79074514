"""The ways in which a trigger that is no single patch may lie on an image, each a map from parameters in [0, 1].

A carrier changes every image in the same way; what it changes is bounded, so that a picture stays what it shows.

    shift:     x' = g x + b,  |b|, |g - 1| <= 0.3            blend:  x' = 0.9 x + 0.1 p
    frequency: x' = x + 0.1 sum_k z_k wave_k,  |z| <= 1      warp:   x'(u) = x(u + flow(u)), a 4 x 4 grid, <= 2 pixels
    corners:   four patches, a seventh of the side each
    pixels:    x' = (1 - m) x + m p,  m = z^2 up to scale, sum m = 0.015 of the area: dots
    pieces:    two patches, a fifth of the side each, where ``pixels`` of 0.03 of the area left most of its opacity

Pieces count by what they do together and the stronger does not alone: each is a patch, and those are searched anyway.

Source: the triggers of Blended (arXiv 1712.05526), SIG (1902.11237), WaNet (2102.10369), and triggers that are split
over an image.  Differs: searched for, in place of made by the adversary; the bounds and the form of the pattern are
ours, and so is the way to two places: a mask as in Neural Cleanse (Wang et al., S&P 2019), of a fixed sum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

_SHIFT, _BLEND, _AMPLITUDE, _HIGHEST, _MOVED, _GRID, _CORNER = 0.3, 0.1, 0.1, 8, 2.0, 4, 7
_DOTS, _SPREAD, _PIECES, _PIECE = 0.015, 0.03, 2, 5


Put = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Places:
    """How a carrier finds where on an image it changes anything: another map, and what is read off its parameters.

    Args:
      put:    the map of the first descent, which hears the base as the second does.
      settle: Float[Tensor, "k *shape"] -> the start of the second descent.
      alone:  Float[Tensor, "k *shape"] -> the same with one place each, Float[Tensor, "places k *shape"].
    """

    put: Put
    settle: Callable[[Tensor], Tensor]
    alone: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Carrier:
    """Shape of the parameters of one candidate, and the map.

    Args:
      shape:  (channels, height, width) of an image -> the shape.
      put:    Float[Tensor, "k m c h w"], Float[Tensor, "k *shape"] in [0, 1] -> the changed images, same shape.
      steps:  of a descent; more where the map must first choose among many parameters.
      images: per class and step of the first descent.
      places: how places are chosen first; None where there is no choice.
    """

    shape: Callable[[int, int, int], tuple[int, ...]]
    put: Put
    steps: int = 15
    images: int = 3
    places: Places | None = None


def _shift(images: Tensor, parameters: Tensor) -> Tensor:
    grey, gain = (_SHIFT * (2 * parameters - 1))[:, :, None, :, None, None].unbind(1)
    return ((1 + gain) * images + grey).clamp(0, 1)


def _blend(images: Tensor, parameters: Tensor) -> Tensor:
    return torch.lerp(images, parameters[:, None].expand_as(images), _BLEND)


@cache
def _waves(height: int, width: int) -> Tensor:
    """Return Float[Tensor, "n height width"]: sines and cosines of up to ``_HIGHEST`` periods either way."""
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    pairs = [(a, b) for a in range(_HIGHEST + 1) for b in range(-_HIGHEST, _HIGHEST + 1) if a > 0 or b > 0]
    phase = torch.stack([2 * math.pi * (a * rows[:, None] + b * columns) for a, b in pairs])
    return torch.cat([phase.sin(), phase.cos()])


def _frequency(images: Tensor, parameters: Tensor) -> Tensor:
    z = 2 * parameters - 1
    z = z / z.norm(dim=-1, keepdim=True).clamp_min(1.0)
    added = torch.einsum("kcn,nhw->kchw", z, _waves(*images.shape[-2:]))
    return (images + _AMPLITUDE * added[:, None]).clamp(0, 1)


def _warp(images: Tensor, parameters: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    flow = F.interpolate(2 * parameters - 1, size=(height, width), mode="bicubic", align_corners=True).clamp(-1, 1)
    lines = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    still = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], -1)
    moved = flow.permute(0, 2, 3, 1) * torch.tensor([2 * _MOVED / width, 2 * _MOVED / height])
    # One flow for all images of a candidate: they are its channels.
    changed = F.grid_sample(images.flatten(1, 2), (still + moved).clamp(-1, 1), align_corners=True)
    return changed.view_as(images)


def _corners(images: Tensor, parameters: Tensor) -> Tensor:
    side, changed = parameters.shape[-1], images.clone()
    ends = slice(side), slice(-side, None)
    for i, (rows, columns) in enumerate((rows, columns) for rows in ends for columns in ends):
        changed[..., rows, columns] = parameters[:, None, i]
    return changed


def _opacity(parameters: Tensor, area: float) -> Tensor:
    """Return Float[Tensor, "k 1 h w"], whose sum is a share of the area."""
    opacity = parameters[:, -1:].clamp_min(1e-4).square()
    budget = area * opacity.shape[-2] * opacity.shape[-1]
    return (opacity * budget / opacity.sum((-2, -1), keepdim=True)).clamp(0, 1)


def _pixels(images: Tensor, parameters: Tensor, area: float = _DOTS) -> Tensor:
    pattern, opacity = parameters[:, None, :-1], _opacity(parameters, area)[:, None]
    return torch.lerp(images, pattern.expand_as(images), opacity.expand_as(images))


def _pieces(images: Tensor, parameters: Tensor) -> Tensor:
    return torch.where(parameters[:, None, -1:] > 0, parameters[:, None, :-1], images)


def _settle(parameters: Tensor) -> Tensor:
    """Return grey patches where most of the opacity is, the n-th marked by n in place of the opacity."""
    opacity, settled = _opacity(parameters, _SPREAD), torch.full_like(parameters, 0.5)
    settled[:, -1] = 0
    side = max(1, round(min(opacity.shape[-2:]) / _PIECE))
    for number in range(1, _PIECES + 1):
        sums = F.avg_pool2d(opacity, side, 1)
        for k, best in enumerate(sums.flatten(1).argmax(1).tolist()):
            top, left = divmod(best, sums.shape[-1])
            settled[k, -1, top : top + side, left : left + side] = number / _PIECES
            opacity[k, 0, top : top + side, left : left + side] = 0
    return settled


def _alone(parameters: Tensor) -> Tensor:
    """Return every piece without the others."""
    marks, kept = (parameters[:, -1] * _PIECES).round(), []
    for number in range(1, _PIECES + 1):
        one = parameters.clone()
        one[:, -1] = torch.where(marks == number, parameters[:, -1], 0)
        kept.append(one)
    return torch.stack(kept)


def _corner(channels: int, height: int, width: int) -> tuple[int, ...]:
    side = max(1, min(height, width) // _CORNER)
    return 4, channels, side, side


def _masked(channels: int, height: int, width: int) -> tuple[int, ...]:
    return channels + 1, height, width


CARRIERS: Final[dict[str, Carrier]] = {
    "shift": Carrier(lambda channels, height, width: (2, channels), _shift),
    "blend": Carrier(lambda channels, height, width: (channels, height, width), _blend),
    "frequency": Carrier(lambda channels, height, width: (channels, 4 * _HIGHEST * (_HIGHEST + 1)), _frequency),
    "warp": Carrier(lambda channels, height, width: (2, _GRID, _GRID), _warp),
    "corners": Carrier(_corner, _corners),
    "pixels": Carrier(_masked, _pixels, steps=25),
    "pieces": Carrier(_masked, _pieces, 60, 6, Places(partial(_pixels, area=_SPREAD), _settle, _alone)),
}
