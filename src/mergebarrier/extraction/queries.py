"""Pictures that stand for what an attacker may ask: moved, turned, scaled and re-lit versions of the owner's own.

    x'(q) = contrast (x(A q + b) - mean) + mean + brightness
    A, b: 15 degrees, a tenth of the side, .9 to 1.1;   contrast .6 to 1.4, brightness -.4 to .4 of the range

Source: the augmentation of MISLEADER (arXiv 2506.02362).  Differs: one affine map in place of crop and affine, no
mirror (letters and digits are not mirrored) and no change of colours; draws are keyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import torch
from mergebarrier.numerics import draws

if TYPE_CHECKING:
    from torch import Tensor

_TURN, _SHIFT, _SCALE, _LIGHT = 15 * 3.14159265 / 180, 0.2, 0.1, 0.4
_NUMBERS: Final = 6


def augmented(pictures: Tensor, *, seed: int, step: int) -> Tensor:
    """Return one version of each picture, Float32[Tensor, "n c h w"] in [0, 1]."""
    u = draws.uniform(("extraction", seed, f"augmented|{step}"), _NUMBERS, len(pictures), low=-1.0).float()
    turn, scale = _TURN * u[0], 1 + _SCALE * u[1]
    cos, sin = scale * turn.cos(), scale * turn.sin()
    maps = torch.stack([cos, -sin, _SHIFT * u[2], sin, cos, _SHIFT * u[3]], dim=1).view(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(maps, list(pictures.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    mean = moved.mean((1, 2, 3), keepdim=True)
    contrast, light = (1 + _LIGHT * u[4]).view(-1, 1, 1, 1), (_LIGHT * u[5]).view(-1, 1, 1, 1)
    return ((moved - mean) * contrast + mean + light).clamp(0, 1)
