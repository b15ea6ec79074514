"""Fit one general map between two matrices that move against each other.

Row matrix V (n, m) moves by A, partner O (k, n) by A^-1 from the right; both are known before and after, up to a task
vector.  Least squares on one side alone pushes the whole task vector to the other side; Newton steps on the sum of both
squared distances share it out and keep the product O V exact whatever the estimate.

    minimise ||A^-1 V' - V0||^2 + ||O' A - O0||^2   by  V <- (I + X) V, O <- O (I + X)^-1
    (O^T O) X + X (V V^T) = (V0 - V) V^T + O^T (O - O0)        (Sylvester, solved by two eigendecompositions)

Source: orthogonal Procrustes generalised to GL(n); one-sided start as in arXiv 2606.30360, the joint steps are ours.
"""

import torch
from torch import Tensor

from mergebarrier.symmetry.elements import LinearMap

_RIDGE = 1e-8
_MAX_STEPS = 30
_RELATIVE_FALL = 1e-9
_MAX_CONDITION = 1e4


def _ridged(gram: Tensor) -> Tensor:
    n = gram.shape[-1]
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return gram + (_RIDGE * trace / n).clamp_min(torch.finfo(torch.float64).tiny)[..., None, None] * torch.eye(
        n, dtype=gram.dtype
    )


def _start(v: Tensor, o: Tensor, v0: Tensor, o0: Tensor) -> Tensor:
    """A with V' = A V0 or O' = O0 A^-1, from the better conditioned side, per group."""
    gram_v, gram_o = _ridged(v0 @ v0.mT), _ridged(o0.mT @ o0)
    from_v = torch.linalg.solve(gram_v, v0 @ v.mT).mT
    from_o = torch.linalg.inv(torch.linalg.solve(gram_o, o0.mT @ o))
    worse = torch.linalg.cond(gram_v) > 10 * torch.linalg.cond(gram_o)
    return torch.where(worse[..., None, None], from_o, from_v)


def _objective(v: Tensor, o: Tensor, v0: Tensor, o0: Tensor) -> Tensor:
    return (v - v0).square().sum((-2, -1)) + (o - o0).square().sum((-2, -1))


def fit(v: Tensor, o: Tensor, v0: Tensor, o0: Tensor) -> LinearMap:
    """Return A such that V ~ A V0 and O ~ O0 A^-1, per group.

    Args:
      v:  Float64[Tensor, "G n m"], after.
      o:  Float64[Tensor, "G k n"], after.
      v0: as v, before.
      o0: as o, before.

    Returns: LinearMap (G, n, n); exact to rounding when nothing but A separates the two.
    Numerics: the inverse is that of the product of the steps taken, condition of each step at most 1e4.
    """
    n = v.shape[1]
    eye = torch.eye(n, dtype=torch.float64)
    backward = torch.linalg.inv(_start(v, o, v0, o0))
    moved_v, moved_o = backward @ v, o @ torch.linalg.inv(backward)
    value = _objective(moved_v, moved_o, v0, o0)
    for _ in range(_MAX_STEPS):
        a, p = torch.linalg.eigh(moved_o.mT @ moved_o)
        b, q = torch.linalg.eigh(moved_v @ moved_v.mT)
        slope = (v0 - moved_v) @ moved_v.mT + moved_o.mT @ (moved_o - o0)
        scale = a[..., :, None] + b[..., None, :]
        scale = scale + _RIDGE * (a.amax(-1) + b.amax(-1))[..., None, None] + torch.finfo(torch.float64).tiny
        step = p @ ((p.mT @ slope @ q) / scale) @ q.mT
        size = torch.ones(v.shape[0], dtype=torch.float64)
        accepted, best = backward, value
        for _ in range(12):
            trial = eye + size[:, None, None] * step
            candidate = trial @ backward
            trial_v, trial_o = candidate @ v, o @ torch.linalg.inv(candidate)
            trial_value = _objective(trial_v, trial_o, v0, o0)
            good = (trial_value < value) & (torch.linalg.cond(trial) < _MAX_CONDITION)
            accepted = torch.where(good[:, None, None], candidate, accepted)
            best = torch.where(good, trial_value, best)
            if bool((good | (size < 2.0**-10)).all()):
                break
            size = torch.where(good, 0.0, size / 2)
        fell = value - best
        backward, value = accepted, best
        moved_v, moved_o = backward @ v, o @ torch.linalg.inv(backward)
        if bool((fell <= _RELATIVE_FALL * value + torch.finfo(torch.float64).tiny).all()):
            break
    return LinearMap(torch.linalg.inv(backward), backward)
