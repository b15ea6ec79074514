"""The range that a polynomial of a known activation was fitted on, from its coefficients up to a common factor.

    (mid, half) = argmin |a(mid, half) / |a| - c / |c||,        mid = -b half where the gate has no bias of its own

A table of shapes gives the start, the best of every stretch of it in turn, and Gauss-Newton the rest: on one number per
neuron, or on two.  A range so narrow that the activation is a straight line there fits many: harmless, as the weights
then compute the same.

Source: arXiv 2506.19874 for Taylor's form, where the middle is public; the shapes of Chebyshev's are ours.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mergebarrier.modeling_mergebarrier import PolynomialBlock, PolynomialPlan
from mergebarrier.numerics import polynomials

#: Where the search starts: half-widths by their logarithm; middles, where the gate has a bias.
_LOG_LOW, _LOG_HIGH, _LEVELS = -7.0, 5.0, 121
_FARTHEST, _MIDDLES = 16.0, 129
_AT_ONCE, _STEPS, _SMALLEST = 512, 60, 1e-300
#: Stretches of the grid that are tried, while a shape is farther off than a rounding of float32 explains.
_TRIES, _CLOSE = 16, 1e-7
_SHIFT = 1e-5


def ranges(plan: PolynomialPlan, block: PolynomialBlock, shape: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return middles, half-widths and what is left, of neurons whose coefficients are known up to a factor.

    Args:
      plan:  of the model.
      block: of the network.
      shape: Float64[Tensor, "n order+1"].
      bias:  Float64[Tensor, "n"], of what the polynomials are of.
    """
    wanted = shape / shape.norm(dim=1, keepdim=True).clamp_min(_SMALLEST)
    free = "gate" in block["biased"]
    levels = torch.linspace(_LOG_LOW, _LOG_HIGH, _LEVELS, dtype=torch.float64)

    def unit(mid: Tensor, half: Tensor) -> Tensor:
        found = polynomials.coefficients(plan["basis"], block["activation"], mid, half, plan["order"])
        size: Tensor = found.norm(dim=-1, keepdim=True)
        return found / size.clamp_min(_SMALLEST)

    def of(theta: Tensor, bias: Tensor) -> Tensor:
        half = theta[:, -1].exp()
        return unit(theta[:, 0] if free else -bias * half, half)

    starts = _starts(wanted, levels, unit if free else None, of, bias)
    theta = starts[:, 0]
    off = torch.full((len(theta),), torch.inf, dtype=torch.float64)
    for candidate in starts.unbind(1):
        again = (off > _CLOSE).nonzero()[:, 0]
        if not len(again):
            break
        some, target = bias[again], wanted[again]

        def near(theta: Tensor, some: Tensor = some) -> Tensor:
            return of(theta, some)

        signed = target * torch.where((near(candidate[again]) * target).sum(1, keepdim=True) < 0, -1.0, 1.0)
        found = _refined(near, candidate[again], signed)
        left = (near(found) - signed).norm(dim=1)
        better = left < off[again]
        theta[again[better]], off[again[better]] = found[better], left[better]
    half = theta[:, -1].exp()
    return (theta[:, 0] if free else -bias * half), half, off


def _starts(
    wanted: Tensor,
    levels: Tensor,
    unit: Callable[[Tensor, Tensor], Tensor] | None,
    of: Callable[[Tensor, Tensor], Tensor],
    bias: Tensor,
) -> Tensor:
    """Return parameters to start from, the best of each stretch of a grid, the best stretch first.

    Float64[Tensor, "n tries parameters"]; ``unit`` is given where middles are sought too.
    """
    if unit is not None:
        middles = torch.linspace(-_FARTHEST, _FARTHEST, _MIDDLES, dtype=torch.float64)
        grid = torch.cartesian_prod(middles, levels)
        known = unit(grid[:, 0], grid[:, 1].exp()).mT
        places = [_best((some @ known).abs()) for some in wanted.split(_AT_ONCE)]
    else:
        grid = levels[:, None]
        tried = [(of(level.expand(len(bias), 1), bias) * wanted).sum(1).abs() for level in levels]
        places = [_best(torch.stack(tried, dim=1))]
    return grid[torch.cat(places)]


def _best(scores: Tensor) -> Tensor:
    """Return where the scores of each row are best, stretch by stretch, the best stretch first."""
    size = -(-scores.shape[1] // _TRIES)
    found = [part.max(1) for part in scores.split(size, dim=1)]
    values = torch.stack([one.values for one in found], dim=1)
    places = torch.stack([one.indices + n * size for n, one in enumerate(found)], dim=1)
    return places.gather(1, values.argsort(dim=1, descending=True, stable=True))


def _refined(of: Callable[[Tensor], Tensor], theta: Tensor, wanted: Tensor) -> Tensor:
    """Return the parameters of the nearest shapes: damped Gauss-Newton, every row for itself."""
    damping = torch.full((len(theta),), 1e-3, dtype=torch.float64)
    left = of(theta) - wanted
    for _ in range(_STEPS):
        shifts = _SHIFT * torch.eye(theta.shape[1], dtype=torch.float64)
        slopes = torch.stack([(of(theta + shift) - of(theta - shift)) / (2 * _SHIFT) for shift in shifts], dim=2)
        normal = slopes.mT @ slopes
        damped = normal + torch.diag_embed(damping[:, None] * normal.diagonal(dim1=1, dim2=2) + _SMALLEST)
        step = torch.linalg.solve(damped, slopes.mT @ left[..., None])[..., 0]
        tried = theta - step.clamp(-1, 1)
        now = of(tried) - wanted
        better = now.norm(dim=1) < left.norm(dim=1)
        theta, left = torch.where(better[:, None], tried, theta), torch.where(better[:, None], now, left)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-12, 1e6)
        if not bool(better.any()):
            break
    return theta
