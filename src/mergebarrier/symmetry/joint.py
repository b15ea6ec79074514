"""Fit one general map between two matrices that move against each other.

Row matrix V (n, m) moves by A, partner W = O^T (n, k) by A^-T; both are known before and after, up to a task vector.
Least squares on one side alone pushes the whole task vector to the other side; Newton steps on the sum of both squared
distances share it out and keep the product O V exact whatever the estimate.

    minimise ||A^-1 V' - V0||^2 + ||O' A - O0||^2   by  V <- (I + X) V, O <- O (I + X)^-1
    (O^T O) X + X (V V^T) = (V0 - V) V^T + O^T (O - O0)        (Sylvester, solved by two eigendecompositions)

Source: orthogonal Procrustes generalised to GL(n); one-sided start as in arXiv 2606.30360, the joint steps are ours.
All of it is a function of n x n products of the matrices, which are taken once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.symmetry.elements import LinearMap, Monomial, identity, nearest_signed_permutation
from mergebarrier.symmetry.matching import assign

_RIDGE = 1e-8
_MAX_STEPS = 30
_RELATIVE_FALL = 1e-9
_MAX_CONDITION = 1e4
# Products of float64 cancel to this much of the energies.
_ROUNDING = 1e-14

# A simpler element that leaves no more than so many times the squared distance of a fitted one is the better guess: a
# fit follows the task vector wherever weights are small, a key that is not simple leaves far more.
SIMPLER = 1.5


@dataclass(frozen=True)
class Products:
    """Row products of one side, per group.

    Attributes:
      now, then: Float64[Tensor, "G n n"], of the rows with themselves; ``cross`` now with then.
    """

    now: Tensor
    cross: Tensor
    then: Tensor

    @classmethod
    def of(cls, now: Tensor, then: Tensor) -> "Products":
        """Multiply rows, Float[Tensor, "G n m"] both, widening one group at a time."""
        sums = []
        for here, there in zip(now, then, strict=True):
            a, b = here.double(), there.double()
            sums.append((a @ a.T, a @ b.T, b @ b.T))
        return cls(*(torch.stack(side) for side in zip(*sums, strict=True)))

    def __add__(self, other: "Products") -> "Products":
        """Add the columns of further matrices."""
        return Products(self.now + other.now, self.cross + other.cross, self.then + other.then)

    def moved(self, by: Tensor) -> "Products":
        """Return the products once the rows of the model have been mapped."""
        return Products(by @ self.now @ by.mT, by @ self.cross, self.then)

    def distance(self) -> Tensor:
        """Return |now - then|^2 per group."""
        parts = (side.diagonal(dim1=-2, dim2=-1).sum(-1) for side in (self.now, self.cross, self.then))
        now, cross, then = parts
        return now - 2 * cross + then


def _ridged(gram: Tensor) -> Tensor:
    n = gram.shape[-1]
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return gram + (_RIDGE * trace / n).clamp_min(torch.finfo(torch.float64).tiny)[..., None, None] * torch.eye(
        n, dtype=gram.dtype
    )


def _start(direct: Products, dual: Products) -> Tensor:
    """A with V' = A V0 or O' = O0 A^-1, from the better conditioned side, per group."""
    gram_v, gram_o = _ridged(direct.then), _ridged(dual.then)
    from_v = torch.linalg.solve(gram_v, direct.cross.mT).mT
    spans = [torch.linalg.eigvalsh(gram).clamp_min(1e-300) for gram in (gram_v, gram_o)]
    worse = spans[0][..., -1] / spans[0][..., 0] > 10 * spans[1][..., -1] / spans[1][..., 0]
    if bool(worse.any()):
        from_o = torch.linalg.inv_ex(torch.linalg.solve(gram_o, dual.cross.mT)).inverse
        from_v = torch.where(worse[..., None, None], from_o, from_v)
    # A group without weights says nothing.
    singular = (torch.linalg.inv_ex(from_v).info != 0) | ~torch.isfinite(from_v).all(-1).all(-1)
    return torch.where(singular[..., None, None], torch.eye(from_v.shape[-1], dtype=torch.float64), from_v)


def _distance(direct: Products, dual: Products, backward: Tensor, forward: Tensor) -> Tensor:
    return direct.moved(backward).distance() + dual.moved(forward.mT).distance()


def recognise(direct: Products, dual: Products) -> Monomial | LinearMap:
    """Return the simplest element that explains what moved: the identity, a signed permutation, or a fitted map.

    Args:
      direct: of the rows that the element acts on.
      dual:   of those that its inverse transpose acts on.
    """
    start = _start(direct, dual)
    near = nearest_signed_permutation(start)
    if near is not None:
        return near
    fitted = fit(direct, dual, start)
    left = float(_distance(direct, dual, fitted.backward, fitted.forward).sum())
    near = nearest_signed_permutation(fitted.forward)
    for simple in (identity(*start.shape[:2]), near, _matched(direct, dual)):
        if simple is not None and _left_by(simple, direct, dual) <= SIMPLER * left:
            return simple
    return near or fitted


def nearest_basis(now: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return V and W in the basis in which they are nearest to others, Float64[Tensor, "G n m"] each."""
    direct, dual = (Products.of(*both) for both in zip(now, then, strict=True))
    found = fit(direct, dual, _start(direct, dual))
    return found.backward @ now[0], found.forward.mT @ now[1]


def _left_by(element: Monomial, direct: Products, dual: Products) -> float:
    forward = element.matrix()
    return float(_distance(direct, dual, forward.mT, forward).sum())


def _matched(direct: Products, dual: Products) -> Monomial:
    """Return the signed permutation by the cosines of rows, both sides together."""
    cosine = torch.zeros_like(direct.cross)
    for side in (direct, dual):
        sizes = [gram.diagonal(dim1=-2, dim2=-1).sqrt().clamp_min(1e-150) for gram in (side.now, side.then)]
        cosine = cosine + side.cross / sizes[0][..., :, None] / sizes[1][..., None, :]
    perm = torch.stack([assign(group.abs()) for group in cosine])
    sign = torch.where(cosine.gather(-1, perm[..., None])[..., 0] < 0, -1.0, 1.0)
    return Monomial(perm, sign.double())


def fit(direct: Products, dual: Products, start: Tensor) -> LinearMap:
    """Return A such that V ~ A V0 and O ~ O0 A^-1, per group.

    Args:
      direct: of V.
      dual:   of W = O^T.
      start:  Float64[Tensor, "G n n"], a first A.

    Returns: LinearMap (G, n, n); exact to rounding when nothing but A separates the two.
    Numerics: the inverse is that of the product of the steps taken, condition of each step (Frobenius) at most 1e4.
    """
    eye = torch.eye(start.shape[-1], dtype=torch.float64)
    backward, forward = torch.linalg.inv(start), start
    value = _distance(direct, dual, backward, forward)
    floor = _ROUNDING * sum(side.diagonal(dim1=-2, dim2=-1).sum(-1) for side in (direct.then, dual.then))
    for _ in range(_MAX_STEPS):
        v, w = direct.moved(backward), dual.moved(forward.mT)
        a, p = torch.linalg.eigh(w.now)
        b, q = torch.linalg.eigh(v.now)
        slope = v.cross.mT - v.now + w.now - w.cross
        scale = a[..., :, None] + b[..., None, :]
        scale = scale + _RIDGE * (a.amax(-1) + b.amax(-1))[..., None, None] + torch.finfo(torch.float64).tiny
        step = p @ ((p.mT @ slope @ q) / scale) @ q.mT
        size = torch.ones(len(start), dtype=torch.float64)
        accepted, best = (backward, forward), value
        for _ in range(12):
            trial = eye + size[:, None, None] * step
            undone = torch.linalg.inv_ex(trial).inverse
            candidate = trial @ backward, forward @ undone
            trial_value = _distance(direct, dual, *candidate)
            condition = torch.linalg.matrix_norm(trial) * torch.linalg.matrix_norm(undone)
            # The last step is too small for its fall to be seen.
            good = (trial_value < value + floor) & (condition < _MAX_CONDITION)
            accepted = (
                torch.where(good[:, None, None], candidate[0], accepted[0]),
                torch.where(good[:, None, None], candidate[1], accepted[1]),
            )
            best = torch.where(good, trial_value, best)
            if bool((good | (size < 2.0**-10)).all()):
                break
            size = torch.where(good, 0.0, size / 2)
        fell = value - best
        (backward, forward), value = accepted, best
        if bool((fell.abs() <= _RELATIVE_FALL * value + floor).all()):
            break
    return LinearMap(torch.linalg.inv(backward), backward)
