"""Polynomials in the place of an activation: coefficients of the best known kind on a range, and how far off they are.

    act(mid + half t) ~ sum_n a_n B_n(t),   t in [-1, 1]
    chebyshev   B_n = T_n,   a_n = (2 - [n = 0]) / K sum_k act(mid + half cos h_k) cos(n h_k),   h_k = pi (k + 1/2) / K
    taylor      B_n = t^n,   a_n = half^n act^(n)(mid) / n!,   by Cauchy's integral over |z - mid| = 1

Source: arXiv 2511.10712, which takes Taylor's; its series stops to converge at a distance of about 3 from the middle,
where the activations have poles, so Chebyshev's is the default here.
"""

from collections.abc import Callable, Mapping
from math import pi
from typing import Final

import torch
from torch import Tensor

from mergebarrier.modeling_mergebarrier import ACTIVATIONS, Activation, Basis

_NODES: Final = 64
_POINTS: Final = 401
#: Neurons whose error is looked at together.
_AT_ONCE: Final = 4096


def _erf(z: Tensor) -> Tensor:
    from scipy.special import erf

    return torch.from_numpy(erf(z.cpu().numpy())).to(z.device)


#: The activations for complex arguments.
_COMPLEX: Final[Mapping[Activation, Callable[[Tensor], Tensor]]] = {
    "silu": lambda z: z / (1 + torch.exp(-z)),
    "gelu": lambda z: z / 2 * (1 + _erf(z / 2**0.5)),
    "gelu_tanh": lambda z: z / 2 * (1 + torch.tanh((2 / pi) ** 0.5 * (z + 0.044715 * z**3))),
    "quick_gelu": lambda z: z / (1 + torch.exp(-1.702 * z)),
}


def coefficients(basis: Basis, activation: Activation, mid: Tensor, half: Tensor, order: int) -> Tensor:
    """Return the coefficients of polynomials that stand for an activation.

    Args:
      basis:      "chebyshev" or "taylor".
      activation: a key of ``ACTIVATIONS``.
      mid:        Float64[Tensor, "*n"], middles of the ranges.
      half:       Float64[Tensor, "*n"], their half-widths.
      order:      of the polynomials.
    Returns: Float64[Tensor, "*n order+1"].
    """
    orders = torch.arange(order + 1, dtype=torch.float64)
    if basis == "chebyshev":
        theta = pi * (torch.arange(_NODES, dtype=torch.float64) + 0.5) / _NODES
        values = ACTIVATIONS[activation](mid[..., None] + half[..., None] * theta.cos())
        found: Tensor = values @ (theta[:, None] * orders).cos() * (2 / _NODES)
        return torch.cat([found[..., :1] / 2, found[..., 1:]], dim=-1)
    angle = 2 * pi * torch.arange(_NODES, dtype=torch.float64) / _NODES
    values = _COMPLEX[activation](mid[..., None] + torch.polar(torch.ones_like(angle), angle))
    around = torch.polar(torch.full((_NODES, order + 1), 1.0 / _NODES, dtype=torch.float64), -angle[:, None] * orders)
    derivatives: Tensor = (values @ around).real
    return derivatives * half[..., None] ** orders


def errors(basis: Basis, activation: Activation, mid: Tensor, half: Tensor, found: Tensor) -> Tensor:
    """Return the largest error of polynomials on their ranges, at 401 points: Float64[Tensor, "n"] of "n order+1"."""
    t = torch.linspace(-1, 1, _POINTS, dtype=torch.float64)
    orders = torch.arange(found.shape[-1], dtype=torch.float64)
    table = (t.acos()[:, None] * orders).cos() if basis == "chebyshev" else t[:, None] ** orders
    worst = []
    for m, h, a in zip(mid.split(_AT_ONCE), half.split(_AT_ONCE), found.split(_AT_ONCE), strict=True):
        off = a @ table.T - ACTIVATIONS[activation](m[:, None] + h[:, None] * t)
        worst.append(off.abs().amax(1))
    return torch.cat(worst)


def activation_of(function: Callable[[Tensor], Tensor]) -> Activation | None:
    """Return the name of an activation by what it does; None for one that is not known here."""
    z = torch.linspace(-8, 8, 1601)
    values = function(z)
    return next((name for name, known in ACTIVATIONS.items() if torch.allclose(known(z), values, atol=1e-6)), None)
