"""Which coordinate of one model's stream is which of another's, and how surprising it is that there is an answer.

    C = sum over rows that correspond of a^T b = u s v^T, coordinates of length one;   U = u[:, r:] v[r:, :], r = d / 6
    V = U^2, rows and columns brought to equal sums;   k4 = sum V_ij^2, scaled so that a signed permutation gives d_a

Two models with independent starts agree in function at most, so U is as good as a random isometry: k4 near 3.  A
relative, in whatever order and signs its stream is written, gives a signed permutation: k4 near d.  The leading r pairs
are left out, since frequent tokens are common to all models, and coordinates and sums are made equal, since loud
coordinates of the optimiser are: with r = d / 12 and sums as they come, two of 136 pairs of strangers had z of 4.

    null of k4:  U = H1[:, :q] H2[:, :q]^T, Haar;  mean 3 (1 - 2.36 / w),  sd sqrt(24) / (w + 8),  skew 10 / w,  Pearson
                 III;  w^2 = d_a d_b, fitted at w = 32 to 384
    z is divided by max(1, 8 / m),  m = n_a n_b / rows,  n = median over coordinates of (sum x^2)^2 / sum x^4

Where coordinates live in few rows (nine tenths of a small embedding pruned), sums over the m rows that two of them
share are no normal numbers, and strangers look alike.

Source: MDIR (arXiv 2508.06309) maps embeddings too.  Differs: a null that any two widths share, and a pair of
coordinates is taken only where each is the other's nearest, so that part of a stream may survive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import torch
from mergebarrier.numerics import draws
from mergebarrier.provenance.stored_rows import unit

if TYPE_CHECKING:
    from torch import Tensor

#: One in so many of the pairs of directions, the leading ones, is left out.
_LEFT_OUT: Final = 6
_BALANCINGS: Final = 6
#: Rows that two coordinates share, from which sums over them are normal.
_ENOUGH_ROWS: Final = 8.0
#: Of the first singular value that is kept; SmolLM2 has a hundredth at least.
_SILENT: Final = 1e-3
#: Most coordinates that neurons are compared in: more cost time and tell little.
MOST_COORDINATES: Final = 512
_MEAN_AT, _SPREAD_AT, _SKEW_AT = 2.36, 8.0, 10.0
_BLOCK_ROWS: Final = 1024


@dataclass(frozen=True)
class RowProducts:
    """Sums over rows of two models that correspond, in two halves.

    Attributes:
      cross:  Float64[Tensor, "2 d_a d_b"], of rows less their mean.
      energy: squared norms of the coordinates of either side, Float64[Tensor, "2 d"] each, a row per half.
      fourth: the same of fourth powers, of all rows.
      rows:   how many correspond.
    """

    cross: Tensor
    energy: tuple[Tensor, Tensor]
    fourth: tuple[Tensor, Tensor]
    rows: int

    @classmethod
    def of(cls, first: Tensor, second: Tensor) -> RowProducts:
        """Sum over rows, Float[Tensor, "rows d_a"] and Float[Tensor, "rows d_b"], in float32 a block at a time."""
        means = [_mean(side) for side in (first, second)]
        cross = torch.zeros(2, first.shape[1], second.shape[1], dtype=torch.float64)
        energy = [torch.zeros(2, side.shape[1], dtype=torch.float64) for side in (first, second)]
        fourth = [torch.zeros(side.shape[1], dtype=torch.float64) for side in (first, second)]
        for half in (0, 1):
            halves = [side[half::2].split(_BLOCK_ROWS) for side in (first, second)]
            for blocks in zip(*halves, strict=True):
                a, b = (block.float() - mean for block, mean in zip(blocks, means, strict=True))
                cross[half] += (a.T @ b).double()
                for sums, powers, side in zip(energy, fourth, (a, b), strict=True):
                    squares = side.square().double()
                    sums[half] += squares.sum(0)
                    powers += squares.square().sum(0)
        return cls(cross, (energy[0], energy[1]), (fourth[0], fourth[1]), len(first))

    def shared_rows(self) -> float:
        """Return m, in how many rows two coordinates of strangers are both loud."""
        held = (
            energy.sum(0).square() / fourth.clamp_min(1e-300)
            for energy, fourth in zip(self.energy, self.fourth, strict=True)
        )
        return math.prod(float(one.median()) for one in held) / max(self.rows, 1)

    def equally_loud(self) -> Tensor:
        """Return the products of all rows with every coordinate brought to length one, Float64[Tensor, "d_a d_b"].

        Coordinates that are quiet in both models would be the last directions of both, and so correspond in strangers.
        """
        ours, theirs = (sums.sum(0).sqrt().clamp_min(1e-300) for sums in self.energy)
        return self.cross.sum(0) / ours[:, None] / theirs

    def held_out_cosine(self) -> float:
        """Return the cosine of one half of the rows once the best rotation of the other half is undone.

        It is high for unrelated models of one data set too: a score without a p-value.
        """
        rotation = isometry(self.cross[0], 0)
        size = math.sqrt(math.prod(float(sums[1].sum()) for sums in self.energy))
        return float((rotation * self.cross[1]).sum()) / size if size else 0.0


@dataclass(frozen=True, kw_only=True)
class StreamTest:
    """How far the map between two streams is from a random one.

    Attributes:
      k4:      sum of fourth powers of its entries, balanced; ``expected`` of a random one.
      z:       standard deviations between them.
      p:       of the null.
      left_out: leading pairs of directions that were left out.
    """

    k4: float
    expected: float
    z: float
    p: float
    left_out: int


@dataclass(frozen=True)
class CommonView:
    """Coordinates that rows of both models are seen in.

    Attributes:
      left:  of the first model, Int64[Tensor, "k"]; ``sign`` of each.
      right: of the second, or the columns of a rotation that give them, Float[Tensor, "d_b k"].
    """

    left: Tensor
    sign: Tensor
    right: Tensor

    def turned(self, turn: Tensor | None) -> CommonView:
        """Return the same view of a second model that is written in a rotation first, Float[Tensor, "d_b d_b"]."""
        return self if turn is None else CommonView(self.left, self.sign, turn[:, self.right].contiguous())

    def of_first(self, rows: Iterable[Tensor]) -> Tensor:
        """Return rows of the first model, given in blocks, of unit length in coordinates that are equally loud."""
        return unit(_equally_loud(torch.cat([block[:, self.left] * self.sign for block in rows])))

    def of_second(self, rows: Iterable[Tensor]) -> Tensor:
        """Return rows of the second model, given in blocks, of unit length in coordinates that are equally loud."""
        turned = self.right.is_floating_point()
        seen = [block @ self.right if turned else block[:, self.right] for block in rows]
        return unit(_equally_loud(torch.cat(seen)))


def _equally_loud(rows: Tensor) -> Tensor:
    """Divide columns by their root mean squares: what an optimiser makes loud, it makes loud in strangers too."""
    return rows / rows.square().mean(0, keepdim=True).sqrt().clamp_min(1e-30)


def _mean(rows: Tensor) -> Tensor:
    """Return the mean of rows, a block at a time: a copy of all of them in float64 would be the most that is held."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for block in rows.split(_BLOCK_ROWS):
        total += block.double().sum(0)
    return (total / len(rows)).float()


def isometry(cross: Tensor, left_out: int) -> Tensor:
    """Return the partial isometry of products without the leading directions, Float64[Tensor, "d_a d_b"].

    Directions that hold next to nothing are left out too: where two strangers are silent they would correspond.
    """
    u, s, v = torch.linalg.svd(cross, full_matrices=False)
    heard = int((s > _SILENT * s[left_out_of(len(s))]).sum())
    kept: Tensor = u[:, left_out:heard] @ v[left_out:heard]
    return kept


def left_out_of(width: int) -> int:
    """Return how many leading pairs of directions are left out of streams whose narrower one has this width."""
    return width // _LEFT_OUT


def stream_test(isometry: Tensor, left_out: int, shared_rows: float) -> StreamTest:
    """Compare a map of streams with a random one.

    Args:
      isometry:    of ``isometry``.
      left_out:    as there.
      shared_rows: of ``RowProducts``.
    """
    from scipy.stats import pearson3

    squares = isometry.double().square()
    for _ in range(_BALANCINGS):
        squares = squares / squares.sum(1, keepdim=True).clamp_min(1e-300)
        squares = squares / squares.sum(0, keepdim=True).clamp_min(1e-300)
    k4 = float(squares.square().sum()) * isometry.shape[0] / isometry.shape[1]
    width = math.sqrt(math.prod(isometry.shape))
    expected, spread = 3.0 * (1 - _MEAN_AT / width), math.sqrt(24.0) / (width + _SPREAD_AT)
    z = (k4 - expected) / spread / max(1.0, _ENOUGH_ROWS / max(shared_rows, 1e-9))
    return StreamTest(k4=k4, expected=expected, z=z, p=float(pearson3.sf(z, _SKEW_AT / width)), left_out=left_out)


def mutual(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of rows and columns each of which is the other's nearest, Int64[Tensor, "k"] both."""
    best, back = similarity.argmax(1), similarity.argmax(0)
    rows = torch.nonzero(back[best] == torch.arange(len(best)))[:, 0]
    return rows, best[rows]


def common_view(isometry: Tensor, turn: Tensor | None = None) -> CommonView:
    """Return the coordinates that are each other's nearest.

    Args:
      isometry: from the second model's coordinates to the first's.
      turn:     a rotation that the second model is written in first, Float[Tensor, "d_b d_b"]; None for none.
    """
    seen = isometry if turn is None else isometry @ turn
    left, right = mutual(seen.abs())
    if len(left) > MOST_COORDINATES:
        some = torch.arange(MOST_COORDINATES) * len(left) // MOST_COORDINATES
        left, right = left[some], right[some]
    sign = torch.where(seen[left, right] < 0, -1.0, 1.0)
    return CommonView(left, sign, right).turned(turn)


def whole_view(isometry: Tensor) -> CommonView:
    """Return the view of all coordinates of the first model, the second's turned onto them."""
    width = len(isometry)
    return CommonView(torch.arange(width), torch.ones(width), isometry.float().T.contiguous())


@dataclass(frozen=True)
class StreamMaps:
    """How one stream is seen from the other.

    Attributes:
      mapped: without the leading directions, Float32[Tensor, "d_a d_b"].
      whole:  the view of all coordinates through all directions.
      stream: the test of ``mapped``, None where no rows correspond.
      rotated_cosine: of ``RowProducts.held_out_cosine``, None too where widths differ.
    """

    mapped: Tensor
    whole: CommonView
    stream: StreamTest | None
    rotated_cosine: float | None


def stream_maps(products: RowProducts | None, widths: tuple[int, int]) -> StreamMaps:
    """Return the maps of rows that correspond, or those that change nothing where there are none."""
    left_out = left_out_of(min(widths))
    if products is None:
        identity = torch.eye(*widths, dtype=torch.float64)
        return StreamMaps(isometry(identity, left_out).float(), whole_view(isometry(identity, 0)), None, None)
    mapped = isometry(products.equally_loud(), left_out)
    stream = stream_test(mapped, left_out, products.shared_rows())
    whole = whole_view(isometry(products.cross.sum(0), 0))
    cosine = products.held_out_cosine() if widths[0] == widths[1] else None
    return StreamMaps(mapped.float(), whole, stream, cosine)


def stored_view(width: int) -> CommonView:
    """Return the view of the coordinates as they are stored."""
    places = torch.arange(min(width, MOST_COORDINATES)) * width // min(width, MOST_COORDINATES)
    return CommonView(places, torch.ones(len(places)), places)


def haar(width: int, seed: int, number: int, *, centred: bool) -> Tensor:
    """Return draw ``number`` of a random rotation, Float32[Tensor, "width width"]; a centred one keeps all ones."""
    inner = width - centred
    uniform = draws.uniform(("provenance", seed, f"haar|{width}|{number}"), inner, inner)
    normal = torch.special.ndtri(uniform.clamp_min(2.0**-54)).float()
    q, r = torch.linalg.qr(normal)
    rotation: Tensor = q * torch.where(torch.diagonal(r) < 0, -1.0, 1.0)
    if not centred:
        return rotation
    basis = complement(width).float()
    return basis @ rotation @ basis.T + torch.full((width, width), 1.0 / width)


def complement(width: int) -> Tensor:
    """Return an orthonormal basis of what is orthogonal to all ones, Float64[Tensor, "width width-1"]."""
    ones = torch.ones(width, 1, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(torch.cat([ones, torch.eye(width, dtype=torch.float64)[:, 1:]], dim=1))[0]
    return basis[:, 1:]
