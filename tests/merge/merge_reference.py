"""Float64 references, each written straight from its formula: whole tensors, no blocks, no code of the package."""

from collections.abc import Sequence

import torch
from torch import Tensor


def linear(base: Tensor | None, experts: Sequence[Tensor], weights: Sequence[float], normalize: bool = True) -> Tensor:
    total = sum(w * x.double() for w, x in zip(weights, experts, strict=True))
    return total / sum(weights) if normalize else total


def keep_largest(tau: Tensor, density: float) -> Tensor:
    """Indicator of the max(1, floor(density n)) largest magnitudes; ties by flat index (a stable sort)."""
    if density >= 1 or not tau.numel():
        return torch.ones_like(tau)
    k = max(1, int(density * tau.numel())) if density > 0 else 0
    order = torch.sort(tau.reshape(-1).abs(), descending=True, stable=True).indices
    mask = torch.zeros(tau.numel(), dtype=tau.dtype)
    mask[order[:k]] = 1
    return mask.reshape(tau.shape)


def rescaled(tau: Tensor, mask: Tensor, rescale: str, density: float) -> Tensor:
    kept = tau * mask
    if rescale == "inverse":
        return kept / density if density > 0 else kept
    if rescale == "l1":
        before, after = tau.abs().sum(), kept.abs().sum()
        return kept if min(before, after) < 1e-7 else kept * (before / after)
    return kept


def weighted_sum(
    base: Tensor, taus: Sequence[Tensor], weights: Sequence[float], coefficient: float, normalize: bool = False
) -> Tensor:
    total = sum(w * tau for w, tau in zip(weights, taus, strict=True))
    divisor = sum(weights) if normalize else 1.0
    return base.double() + coefficient * total / (divisor if abs(divisor) >= 1e-8 else 1.0)


def elected(
    base: Tensor,
    taus: Sequence[Tensor],
    weights: Sequence[float],
    coefficient: float,
    *,
    elect: str = "weighted",
    elect_zero: str = "plus",
    reduce: str = "weighted_mean",
) -> Tensor:
    weighted = torch.stack([w * tau for w, tau in zip(weights, taus, strict=True)])
    votes = weighted if elect == "weighted" else torch.stack(list(taus))
    balance = votes.sum(0)
    sign = balance.sign()
    tie = 1.0 if elect_zero == "plus" or sign.sum() >= 0 else -1.0
    sign = torch.where(sign == 0, tie, sign)
    agree = votes.sign() == sign
    if reduce == "max":
        size = torch.where(agree, weighted.abs(), -1.0)
        best = weighted.gather(0, size.argmax(0, keepdim=True))[0]
        total = torch.where(agree.any(0), best, 0.0)
    else:
        total = torch.where(agree, weighted, 0.0).sum(0)
        column = torch.tensor(weights, dtype=torch.float64).reshape(-1, *[1] * base.dim())
        divisor = {"sum": torch.ones_like(total), "mean": agree.double().sum(0)}.get(reduce, (agree * column).sum(0))
        total = total / torch.where(divisor == 0, 1.0, divisor)
    return base.double() + coefficient * total


def slerp(a: Tensor, b: Tensor, t: float, max_cosine: float = 0.9995) -> Tensor:
    a, b = a.double(), b.double()
    norms = a.norm() * b.norm()
    if a.norm() <= 1e-8 or b.norm() <= 1e-8 or abs((a * b).sum() / norms) > max_cosine:
        return (1 - t) * a + t * b
    angle = torch.acos(((a * b).sum() / norms).clamp(-1, 1))
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
