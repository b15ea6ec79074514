"""What estimation is made of: cosines of rows, assignments, scales of matched neurons, correlations of streams.

scale t = 1/s of a neuron minimises |t up' - up0|^2 + |down'/t - down0|^2: Newton on A t^2 - 2 B t + C / t^2 - 2 E / t
stream: N = sum X'^T X0 over matrices whose other axes correspond; assignment on |N_ij| over the norms, signs of N
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.arch import Kind
from mergebarrier.errors import NothingToAlign
from mergebarrier.symmetry.elements import LinearMap, Monomial

_CLEAR_GAP = 0.3
# Squared distances of unit vectors: 2 (1 - cosine).
_CLEAR_RATIO = 9.0


def cosines(now: Tensor, then: Tensor) -> Tensor:
    """Return cosines of rows, Float32[Tensor, "n n"]; a zero row gives 0."""
    now, then = (side.float() / side.float().norm(dim=1, keepdim=True).clamp_min(1e-30) for side in (now, then))
    return now @ then.T


def assign(score: Tensor) -> Tensor:
    """Return perm, Int64[Tensor, "n"], new entry j = anchor entry perm[j]: the arg-max if a bijection, or Hungarian."""
    best = score.argmax(dim=1)
    if len(torch.unique(best)) == len(best):
        return best
    return best_pairs(score)


def best_pairs(score: Tensor) -> Tensor:
    """Return perm, Int64[Tensor, "n"], a bijection with the largest total; NothingToAlign for a score past numbers."""
    from scipy.optimize import linear_sum_assignment

    if not score.isfinite().all():
        raise NothingToAlign("weights too large to be compared", remedy="check the model: its products are infinite")
    return torch.from_numpy(linear_sum_assignment(score.cpu().numpy(), maximize=True)[1]).to(score.device)


@dataclass(frozen=True)
class Sums:
    """Products of matched rows.

    Attributes:
      now, then: Float64[Tensor, "n"], squared norms; ``dot`` their products.
    """

    now: Tensor
    dot: Tensor
    then: Tensor

    @property
    def cosine(self) -> Tensor:
        """Return cosines; a silent row gives 0."""
        return self.dot / (self.now * self.then).sqrt().clamp_min(1e-300)

    def __add__(self, other: "Sums") -> "Sums":
        """Add the columns of further matrices."""
        return Sums(self.now + other.now, self.dot + other.dot, self.then + other.then)


def fit_scale(up: Sums, down: Sums) -> Tensor:
    """Return t that minimises |t up' - up0|^2 + |down'/t - down0|^2 per neuron, Float64[Tensor, "n"]."""
    a, b, c, e = up.now, up.dot, down.now, down.dot
    usable = (a > 0) & (c > 0) & (b != 0)
    t = torch.where(usable, up.then / torch.where(usable, b, 1.0), 1.0)
    for _ in range(30):
        gradient = a * t - b - c / t**3 + e / t**2
        curvature = a + 3 * c / t**4 - 2 * e / t**3
        step = torch.where(curvature > 0, gradient / curvature, 0.0)
        t = t - torch.where(usable, step.clamp(-t.abs() / 2, t.abs() / 2), 0.0)
    return t


@dataclass(frozen=True)
class Correlation:
    """Sums over matrices: how entry j of an axis now goes with entry k of the anchor's.

    Attributes:
      total: Float64[Tensor, "d d"]; energy_now, energy_then: Float64[Tensor, "d"], squared norms of the entries.
    """

    total: Tensor
    energy_now: Tensor
    energy_then: Tensor

    @classmethod
    def zero(cls, n: int) -> "Correlation":
        """Return the empty sum."""
        vector = torch.zeros(n, dtype=torch.float64)
        return cls(torch.zeros(n, n, dtype=torch.float64), vector, vector)

    @classmethod
    def of(cls, now: Tensor, then: Tensor) -> "Correlation":
        """Return the share of one matrix, Float[Tensor, "rows d"] now and at the anchor."""
        now, then = now.float(), then.float()
        energies = ((side * side).sum(0).double() for side in (now, then))
        return cls((now.T @ then).double(), *energies)

    def __add__(self, other: "Correlation") -> "Correlation":
        """Add the share of further matrices."""
        return Correlation(
            self.total + other.total, self.energy_now + other.energy_now, self.energy_then + other.energy_then
        )

    def cosines(self) -> Tensor:
        """Divide by the norms, so that a loud entry does not outbid a quiet one."""
        left, right = (energy.sqrt().clamp_min(1e-300) for energy in (self.energy_now, self.energy_then))
        return self.total / left[:, None] / right[None, :]

    def within(self, element: Monomial, entries: Tensor) -> "Correlation":
        """Return what is said about some of the anchor's entries once an element has been undone."""
        back = element.inverse()
        order, factor = back.perm[0, entries], back.factor[0, entries]
        return Correlation(
            self.total[order][:, entries] * factor[:, None], self.energy_now[order], self.energy_then[entries]
        )

    def unclear(self, element: Monomial) -> Tensor:
        """Return the anchor's entries that an element matches to one that another could be, Int64[Tensor, "n"].

        Clear is a cosine that stands .3 above all others of its row and column, or is three times nearer to one.
        """
        cosine = self.within(element, torch.arange(len(self.total))).cosines()
        matched = cosine.diagonal().clone()
        others = cosine.abs().fill_diagonal_(-1.0)
        second = torch.maximum(others.amax(0), others.amax(1))
        clear = (matched - second > _CLEAR_GAP) | (1 - second > _CLEAR_RATIO * (1 - matched))
        return torch.nonzero(~clear)[:, 0]


def signed_order(correlation: Correlation, kind: Kind) -> Monomial:
    """Return the signed order that maximises the total of cosines; a "centred" axis allows one global sign only."""
    cosine, centred = correlation.cosines(), kind == "centred"
    # LayerNorm: the order under either global sign, the better of the two.
    views = (cosine, -cosine) if centred else (cosine if kind == "order" else cosine.abs(),)
    orders = [assign(view) for view in views]
    rows = torch.arange(len(cosine))
    perm = max(zip(views, orders, strict=True), key=lambda pair: float(pair[0][rows, pair[1]].sum()))[1]
    matched = cosine[rows, perm] if kind != "order" else torch.ones(len(cosine))
    if centred:
        matched = matched.sum().expand(len(cosine))
    return Monomial(perm[None], torch.where(matched < 0, -1.0, 1.0).double()[None])


def nearest_rotation(correlation: Correlation) -> tuple[LinearMap, float]:
    """Return the orthogonal map that explains a correlation best, and the cosine that it reaches over all entries."""
    left, values, right = torch.linalg.svd(correlation.total)
    turn = (left @ right)[None]
    energy = float((correlation.energy_now.sum() * correlation.energy_then.sum()).sqrt())
    return LinearMap(turn, turn.mT), float(values.sum()) / energy if energy else 0.0
