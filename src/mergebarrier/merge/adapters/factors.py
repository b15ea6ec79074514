"""Sums of low-rank products without forming them: joined, measured, and cut back to a rank.

    sum_i c_i B_i A_i = [c_1 B_1 | ... | c_N B_N] [A_1; ...; A_N]      exact, of rank sum_i r_i
    B = Q_B R_B,  A^T = Q_A R_A,  R_B R_A^T = U S V^T:    |B A| = |S|,    best of rank k: Q_B U_k S_k V_k^T Q_A^T
    factor space:  A = sum_i sign(c_i) sqrt|c_i| A_i,  B = sum_i sqrt|c_i| B_i,    B A - sum_i c_i B_i A_i = cross terms

Source: LoRA, arXiv 2106.09685; factor space as in peft 0.21.2.  Differs from peft's SVD form: the core has the size of
the ranks, not of the matrix, and both factors carry the root of the singular values, so neither loses range in 16 bits.
"""

import math
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from mergebarrier.merge.arithmetic import combine
from mergebarrier.merge.method import Merge, per_expert
from mergebarrier.merge.methods import Linear, Passthrough, TaskArithmetic, TaskVectorMerge
from mergebarrier.parameters import replaced

Factors = tuple[Tensor, Tensor]
"""B (out, r) and A (r, in) of an update B A, in float64."""


def coefficients(method: Merge, count: int) -> tuple[float, ...]:
    """Return c_i: what the method multiplies each update with before anything else is done to it."""
    if isinstance(method, Passthrough):
        return (1.0 if method.scale is None else method.scale,)
    assert isinstance(method, Linear | TaskVectorMerge)
    weights = per_expert(method.name, "weights", method.weights, count, 1.0)
    divisor = combine.divisor_of(weights) if getattr(method, "normalize", False) else 1.0
    coefficient = 1.0 if isinstance(method, Linear) else method.coefficient
    return tuple(coefficient * weight / divisor for weight in weights)


def is_sum(method: Merge) -> bool:
    """Say whether the method is sum_i c_i tau_i whatever the numbers are."""
    return isinstance(method, Linear | TaskArithmetic | Passthrough)


def join(parts: Sequence[tuple[float, Factors]]) -> Factors:
    """Return the factors of sum_i c_i B_i A_i."""
    return torch.cat([c * b for c, (b, _) in parts], dim=1), torch.cat([a for _, (_, a) in parts])


def norm(factors: Factors) -> float:
    """Return the Frobenius norm of B A."""
    b, a = factors
    return float((torch.linalg.qr(b)[1] @ torch.linalg.qr(a.T)[1].T).norm())


def difference(one: Factors, other: Factors) -> float:
    """Return the Frobenius norm of B A - B' A'."""
    return norm(join([(1.0, one), (-1.0, other)]))


def cut(factors: Factors, rank: int) -> Factors:
    """Return the best approximation of B A by factors of a rank."""
    (q_b, r_b), (q_a, r_a) = torch.linalg.qr(factors[0]), torch.linalg.qr(factors[1].T)
    b, a = factor(r_b @ r_a.T, rank)
    return q_b @ b, a @ q_a.T


def factor(update: Tensor, rank: int) -> Factors:
    """Return the best factors of a rank for a matrix; both carry the root of the singular values."""
    u, s, vt = torch.linalg.svd(update, full_matrices=False)
    roots = s[:rank].sqrt()
    return u[:, :rank] * roots, roots.unsqueeze(1) * vt[:rank]


def apart(method: Merge, parts: Sequence[tuple[float, Factors]], name: str) -> Factors:
    """Merge all A and all B on their own by a method with weights.

    Args:
      method: a member of the registry with weights on task vectors, or the weighted mean.
      parts:  (c_i, factors), factors of one rank; the method's own weights and coefficient are in the c_i.
      name:   of the tensor, part of random keys.
    """
    inner = method if isinstance(method, TaskVectorMerge) else TaskArithmetic()
    plain: dict[str, object] = {"coefficient": 1.0}
    plain |= {"normalize": False} if "normalize" in [item.name for item in fields(inner)] else {}
    roots = [math.sqrt(abs(c)) for c, _ in parts]
    merged = []
    for half, signs in ((0, [1.0] * len(parts)), (1, [math.copysign(1.0, c) for c, _ in parts])):
        weights = tuple(sign * root for sign, root in zip(signs, roots, strict=True))
        tensors = [factors[half] for _, factors in parts]
        side = replaced(inner, {**plain, "weights": weights})
        merged.append(side.merge(torch.zeros_like(tensors[0]), tensors, name=f"{name}.lora_{'BA'[half]}"))
    return merged[0], merged[1]
