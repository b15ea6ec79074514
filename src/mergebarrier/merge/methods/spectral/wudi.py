"""WUDI: the matrix whose difference to each task vector least disturbs the inputs that this task vector reacts to.

    minimise sum_i |(tau - tau_i) tau_i^T|^2 / |tau_i|^2,   from tau = sum_i tau_i
    gradient = 2 (tau H - B),   H = sum_i A_i,  B = sum_i tau_i A_i,  A_i = tau_i^T tau_i / |tau_i|^2
    wudi: Adam, a few steps, as published;   wudi_exact: tau = B (H + ridge tr(H)/n I)^-1

Source: Cheng et al., arXiv 2503.08099, steps as in fusion_bench 0.2.33 (a tensor that is not a matrix: the mean of the
task vectors). Differs: the gradient in closed form; wudi_exact is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.methods.spectral import singular
from mergebarrier.parameters import number, whole

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # Adam, Kingma and Ba, arXiv 1412.6980


@dataclass(frozen=True, kw_only=True)
class Wudi(singular.MatrixMerge):
    """Early-stopped minimisation by Adam.

    Raises: BadMergeParameter.

    Example:
      >>> Wudi().merge(torch.zeros(2, 2), [torch.eye(2)], name="w")
      tensor([[1., 0.],
              [0., 1.]])
    """

    name: ClassVar[str] = "wudi"

    steps: int = whole(300, help="Steps of Adam.")
    learning_rate: float = number(1e-5, help="Of Adam: the largest move of an entry per step.", low=0, high=1)

    def precision(self, operands: Operands) -> torch.dtype:
        """Return the arithmetic's dtype: hundreds of matrix products, each gradient fresh."""
        return operands.dtype

    def combine(self, taus: torch.Tensor) -> torch.Tensor:
        """Return the iterate after the last step."""
        units = _units(taus)
        stacked = units.flatten(0, 1)
        curvature = stacked.T @ stacked
        target = _target(taus, units)
        tau = taus.sum(0)
        first, second = torch.zeros_like(tau), torch.zeros_like(tau)
        for step in range(1, self.steps + 1):
            gradient = torch.addmm(target, tau, curvature, beta=-2, alpha=2)
            first.lerp_(gradient, 1 - _BETA_1)
            second.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
            scale = second.sqrt().div_(math.sqrt(1 - _BETA_2**step)).add_(_EPSILON)
            tau.addcdiv_(first, scale, value=-self.learning_rate / (1 - _BETA_1**step))
        return tau


@dataclass(frozen=True, kw_only=True)
class WudiExact(singular.MatrixMerge):
    """The minimum itself, by one solve; among equal minima, nearly the smallest.

    Raises: BadMergeParameter.

    Example:
      >>> WudiExact().merge(torch.zeros(2, 2), [torch.eye(2)], name="w")
      tensor([[1.0000, 0.0000],
              [0.0000, 1.0000]])
    """

    name: ClassVar[str] = "wudi_exact"

    ridge: float = number(1e-6, help="Relative to the mean eigenvalue of H.", low=0, high=1, above=True)

    def combine(self, taus: torch.Tensor) -> torch.Tensor:
        """Return B (H + ridge)^-1, solved on the shorter side of the stacked task vectors."""
        units = _units(taus)
        stacked = units.flatten(0, 1)  # (N m, n), H = stacked^T stacked
        rows, columns = stacked.shape
        ridge = self.ridge * stacked.square().sum() / columns
        if not ridge:
            return torch.zeros_like(taus[0])
        if rows < columns:
            across = torch.cat([tau @ unit.T for tau, unit in zip(taus, units, strict=True)], dim=1)  # (m, N m)
            return torch.cholesky_solve(across.T, _factor(stacked @ stacked.T, ridge)).T @ stacked
        return torch.cholesky_solve(_target(taus, units).T, _factor(stacked.T @ stacked, ridge)).T


def _units(taus: torch.Tensor) -> torch.Tensor:
    norms = taus.flatten(1).norm(dim=1).view(-1, 1, 1)
    return taus / torch.where(norms > 0, norms, 1.0)


def _target(taus: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """B = sum_i tau_i unit_i^T unit_i, (m, n), without a product over the m rows twice: m may be a vocabulary."""
    target = torch.zeros_like(taus[0])
    for tau, unit in zip(taus, units, strict=True):
        target = target + tau @ (unit.T @ unit)
    return target


def _factor(products: torch.Tensor, ridge: torch.Tensor) -> torch.Tensor:
    products.diagonal().add_(ridge)
    factor: torch.Tensor = torch.linalg.cholesky(products)
    return factor
