"""Coordinates of a stream out of what all neurons read, for models whose embeddings do not tell.

    M = sum over layers of gate^T gate / |gate|^2, to unit diagonal = V e V^T, eigenvalues in order
    coordinates: mutual nearest rows of |V_a|, |V_b|;   signs: leading eigenvector of the signed root of M_a o M_b

A signed order of the stream permutes the rows of V and signs them, and the sign of an eigenvector is free; so absolute
rows correspond.  One sign of all coordinates together stays open, and both are tried.

Source: ours.  For a suspect whose embedding was replaced and whose layers were written in other coordinates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergebarrier.lazy import torch
from mergebarrier.provenance.coordinates import MOST_COORDINATES, CommonView, mutual
from mergebarrier.provenance.stored_rows import unit

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.provenance.stored_rows import StoredRows

_POWER_STEPS = 50


def second_moment(read: StoredRows) -> Tensor:
    """Return the share of one layer, Float64[Tensor, "d d"]."""
    moment = torch.zeros(read.width, read.width, dtype=torch.float64)
    for block in read.blocks():
        rows = block.double()
        moment += rows.T @ rows
    return moment / moment.trace().clamp_min(1e-300)


def directions(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Return a second moment with unit diagonal, and how its coordinates stand in its eigenvectors, both "d d"."""
    size = moment.diagonal().clamp_min(1e-300).sqrt()
    normal = moment / size[:, None] / size
    rows = torch.linalg.eigh(normal)[1].abs()
    return normal, unit(rows - rows.mean(0))


def moment_views(first: tuple[Tensor, Tensor], moment: Tensor, turn: Tensor | None = None) -> tuple[CommonView, ...]:
    """Return two views of the coordinates that correspond by second moments, of either global sign.

    Args:
      first:  ``directions`` of the first model.
      moment: of the second, of the same width.
      turn:   a rotation that it is written in first, None for none.
    """
    ours, rows = first
    if turn is not None:
        moment = turn.T.double() @ moment @ turn.double()
    theirs, other = directions(moment)
    left, right = mutual(rows @ other.T)
    sign = _signs(ours[left][:, left] * theirs[right][:, right])
    if len(left) > MOST_COORDINATES:
        some = torch.arange(MOST_COORDINATES) * len(left) // MOST_COORDINATES
        left, right, sign = left[some], right[some], sign[some]
    return CommonView(left, sign, right).turned(turn), CommonView(left, -sign, right).turned(turn)


def _signs(product: Tensor) -> Tensor:
    """Return signs s that make s_i s_j product_ij positive where it is large, Float32[Tensor, "k"]."""
    rooted = product.sign() * product.abs().sqrt()
    rooted.fill_diagonal_(0.0)
    sign: Tensor = torch.linalg.eigh(rooted)[1][:, -1].sign()
    for _ in range(_POWER_STEPS):
        sign = torch.where(rooted @ sign < 0, -1.0, 1.0).double()
    return sign.float()
