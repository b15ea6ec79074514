"""Is one task vector unlike the others?  Norms, their profile over the tensors, signs and spectra, against the pool.

The weights stream by, tensor by tensor; what is kept are a few sums per expert, so a pool of language models costs no
more memory than its largest tensor.  Every figure is compared with the median of the pool in units of its spread.

    norm_i = |tau_i|;   profile_i = |log p_i - median_j log p_j|_1 / n,  p_i = shares of |tau_i|^2 over tensors
    agree_i = mean over entries of sign(tau_i) sign(sum_{j != i} tau_j);   spectral_i = mean sigma_1^2 / |W_i|_F^2
    hit  <=>  |v - median| / (1.4826 MAD) > 3.5

Source: Iglewicz and Hoaglin (1993) for the 3.5.  Differs: the spread has a floor, so that a pool that agrees closely
has no outliers by rounding.  Sees rescaled payloads (LoBAM, amplified hijacks); does not see BadMerging.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from mergebarrier.numerics import draws
from mergebarrier.scan.base import Finding, finding, robust_z

Z_LIMIT: Final = 3.5
#: Least spread of each figure that counts: relative for norms (log units), absolute for the others.  A task of few
#: classes moves along few directions, so honest pools of unlike tasks spread that much.
_FLOORS: Final = {"log_norm": 0.1, "profile": 0.1, "agreement": 0.02, "spectral": 0.05}
_POWER_STEPS: Final = 8
#: Larger entries of a task vector count as this; its square is far from the end of float32.
_LARGEST: Final = 1e12
MIN_POOL: Final = 4


@dataclass(frozen=True)
class Statistics:
    """Figures of one task vector.

    Args:
      norm:       Frobenius norm over all tensors.
      profile:    mean absolute log-ratio of the tensors' shares to the pool's median share.
      agreement:  mean product of its signs with those of the sum of the others.
      spectral:   mean share of a matrix's squared norm that its first singular direction holds.
    """

    norm: float
    profile: float
    agreement: float
    spectral: float


def measure(tensors: Iterable[tuple[str, Tensor, Sequence[Tensor]]], n_experts: int) -> tuple[Statistics, ...]:
    """Stream the weights and return the figures of every expert.

    Args:
      tensors:   (name, base, experts) for every tensor of the base; integer tensors are passed over.
      n_experts: length of every ``experts``.
    Numerics: float32 arithmetic, float64 sums; the order of the experts only permutes the result.
    """
    squares: list[list[float]] = []
    spectral = torch.zeros(n_experts, dtype=torch.float64)
    agreement, entries, matrices = torch.zeros(n_experts, dtype=torch.float64), 0, 0
    for name, base, experts in tensors:
        if not base.is_floating_point():
            continue
        vectors = [_bounded(expert.float() - base.float()) for expert in experts]
        squares.append([float(vector.double().square().sum()) for vector in vectors])
        if n_experts > 1:
            total = torch.stack(vectors).sum(0)
            for i, vector in enumerate(vectors):
                agreement[i] += float((vector.sign() * (total - vector).sign()).sum(dtype=torch.float64))
            entries += base.numel()
        if base.ndim >= 2 and min(base.shape[0], base[0].numel()) > 1:
            matrices += 1
            for i, vector in enumerate(vectors):
                spectral[i] += _top_share(vector.flatten(1), name)
    table = torch.tensor(squares, dtype=torch.float64).reshape(-1, n_experts)
    shares = (table / table.sum(0, keepdim=True).clamp_min(1e-300)).clamp_min(1e-12).log()
    profile = (shares - shares.quantile(0.5, dim=1, keepdim=True)).abs().mean(0)
    return tuple(
        Statistics(
            math.sqrt(float(table[:, i].sum())),
            float(profile[i]),
            float(agreement[i]) / max(1, entries),
            float(spectral[i]) / max(1, matrices),
        )
        for i in range(n_experts)
    )


def judge_task_vectors(names: Sequence[str], statistics: Sequence[Statistics]) -> tuple[Finding, ...]:
    """Compare every expert with the pool; fewer than ``MIN_POOL`` experts are not judged.

    Returns: findings MB7201 to MB7204.
    """
    if len(names) < MIN_POOL:
        return ()
    figures = (
        ("MB7201", "log_norm", "norm of the task vector", [math.log(max(one.norm, 1e-30)) for one in statistics]),
        ("MB7202", "profile", "distance of its profile over the tensors", [one.profile for one in statistics]),
        ("MB7203", "agreement", "agreement of its signs with the pool", [one.agreement for one in statistics]),
        ("MB7204", "spectral", "share of its first singular directions", [one.spectral for one in statistics]),
    )
    findings = []
    for rule, key, what, values in figures:
        scores, median = robust_z(values, _FLOORS[key])
        # A profile or a spectrum nearer to the median than usual is not a reason for suspicion.
        one_sided = key in ("profile", "spectral")
        shown = math.exp if key == "log_norm" else float
        for name, value, z in zip(names, values, scores, strict=True):
            if (z if one_sided else abs(z)) > Z_LIMIT:
                message = f"{what} {shown(value):.4g}, pool median {shown(median):.4g}, robust z {z:+.1f}"
                findings.append(
                    finding(
                        rule,
                        name,
                        message,
                        value=abs(z),
                        threshold=Z_LIMIT,
                        pool_median=shown(median),
                        evidence={"figure": shown(value)},
                    )
                )
    return tuple(findings)


def _bounded(vector: Tensor) -> Tensor:
    """Cut a change that no training makes: one upload whose squares overflow must not blind the pool."""
    return vector.nan_to_num(_LARGEST, _LARGEST, -_LARGEST).clamp(-_LARGEST, _LARGEST)


def _top_share(matrix: Tensor, name: str) -> float:
    """Return sigma_1^2 / |W|_F^2 by a few power steps from a start that belongs to the tensor's name."""
    total = float(matrix.square().sum())
    if total == 0.0:
        return 0.0
    vector = draws.uniform(("scan", 0, f"power|{name}"), matrix.shape[1]).float() + 0.5
    for _ in range(_POWER_STEPS):
        vector = matrix.T @ (matrix @ vector)
        vector = vector / vector.norm().clamp_min(1e-30)
    return float((matrix @ vector).square().sum()) / total
