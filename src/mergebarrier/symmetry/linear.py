"""Elements of GL(n), one per group: signed permutations, which change no bit of a weight, and general real maps.

Both kinds answer the same four questions, so that a space never asks which it holds: act on rows by U, by U^-T, on
columns by U^-1, and invert.  A general map always carries its inverse; nothing is inverted at the moment of use.

    rows:    y[..., j, :] = sum_k U[j, k] x[..., k, :]          columns: y[..., :, j] = sum_k x[..., :, k] U^-1[k, j]
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# So many rows are widened at once.
_BLOCK_ROWS = 512
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def take_columns(x: Tensor, index: Tensor) -> Tensor:
    """Return x[:, index] of a float matrix; ``index`` is a permutation of its columns.

    ``numpy.take`` on the bit patterns is three times as fast here as torch's ``index_select`` along rows.
    """
    if not x.is_contiguous() and x.T.is_contiguous():
        return x.T.index_select(0, index).T
    moved = torch.empty_like(x, memory_format=torch.contiguous_format)
    bits = _BITS[x.element_size()]
    # "clip" takes no buffer of its own; no index of a permutation is ever clipped.
    np.take(x.contiguous().view(bits).numpy(), index.numpy(), axis=1, out=moved.view(bits).numpy(), mode="clip")
    return moved


def flip_signs(x: Tensor, sign: Tensor) -> Tensor:
    """Multiply x in place by a float tensor of +1 and -1 that broadcasts, and return it.

    A sign bit costs less than a product of 16-bit floats, and gives the same bits, signs of zeros included.
    """
    bits = _BITS[x.element_size()]
    x.view(bits).bitwise_xor_((sign < 0).to(bits) << (8 * x.element_size() - 1))
    return x


def _flat_index(perm: Tensor) -> Tensor:
    n = perm.shape[-1]
    return (perm.reshape(-1, n) + torch.arange(perm.reshape(-1, n).shape[0])[:, None] * n).reshape(-1)


@dataclass(frozen=True)
class SignedPermutation:
    """new[j] = sign[j] * old[perm[j]], for each of G groups.

    Attributes:
      perm: Int64[Tensor, "G n"]; sign: Float64[Tensor, "G n"] of +1 and -1.
    """

    perm: Tensor
    sign: Tensor

    bit_exact = True

    def rows(self, x: Tensor) -> Tensor:
        """Act on x[G, n, m] by U; any float dtype, no rounding."""
        moved = x.reshape(-1, x.shape[-1]).index_select(0, _flat_index(self.perm)).reshape(x.shape)
        return moved if bool((self.sign == 1).all()) else flip_signs(moved, self.sign[..., None])

    inverse_transpose_rows = rows

    def columns(self, x: Tensor) -> Tensor:
        """Act on x[m, G, n] by U^-1 from the right."""
        moved = take_columns(x.reshape(x.shape[0], -1), _flat_index(self.perm)).reshape(x.shape)
        return moved if bool((self.sign == 1).all()) else flip_signs(moved, self.sign)

    def inverse(self) -> "SignedPermutation":
        """Return U^-1 = U^T."""
        back = torch.argsort(self.perm, dim=-1)
        return SignedPermutation(back, self.sign.gather(-1, back))

    def matrix(self) -> Tensor:
        """Return U as Float64[Tensor, "G n n"]."""
        return torch.nn.functional.one_hot(self.perm, self.perm.shape[-1]).double() * self.sign[..., None]

    def is_identity(self) -> bool:
        """True when nothing moves."""
        return bool((self.sign == 1).all()) and bool((self.perm == torch.arange(self.perm.shape[-1])).all())


@dataclass(frozen=True)
class LinearMap:
    """A general map and its inverse, for each of G groups: Float64[Tensor, "G n n"] both."""

    forward: Tensor
    backward: Tensor

    bit_exact = False

    def rows(self, x: Tensor) -> Tensor:
        """Act on x[G, n, m] by U; float64 out."""
        return self.forward @ x.double()

    def inverse_transpose_rows(self, x: Tensor) -> Tensor:
        """Act on x[G, n, m] by U^-T; float64 out."""
        return self.backward.mT @ x.double()

    def columns(self, x: Tensor) -> Tensor:
        """Act on x[m, G, n] by U^-1 from the right; float64 out."""
        moved = torch.empty(x.shape, dtype=torch.float64)
        for rows, out in zip(x.split(_BLOCK_ROWS), moved.split(_BLOCK_ROWS), strict=True):
            out.copy_(torch.einsum("mgk,gkj->mgj", rows.double(), self.backward))
        return moved

    def inverse(self) -> "LinearMap":
        """Return U^-1."""
        return LinearMap(self.backward, self.forward)

    def matrix(self) -> Tensor:
        """Return U."""
        return self.forward

    def is_identity(self) -> bool:
        """True when nothing moves."""
        return bool((self.forward == torch.eye(self.forward.shape[-1], dtype=torch.float64)).all())


Linear = SignedPermutation | LinearMap


def identity(groups: int, n: int) -> SignedPermutation:
    """Return the identity on ``groups`` copies of R^n."""
    return SignedPermutation(torch.arange(n).repeat(groups, 1), torch.ones(groups, n, dtype=torch.float64))


def compose(after: Linear, before: Linear) -> Linear:
    """Return the element that acts as ``before``, then ``after``."""
    if isinstance(after, SignedPermutation) and isinstance(before, SignedPermutation):
        return SignedPermutation(before.perm.gather(-1, after.perm), after.sign * before.sign.gather(-1, after.perm))
    return LinearMap(after.matrix() @ before.matrix(), before.inverse().matrix() @ after.inverse().matrix())


def nearest_signed_permutation(matrix: Tensor, tolerance: float) -> SignedPermutation | None:
    """Return the signed permutation within ``tolerance`` of every entry of matrix[G, n, n], or None."""
    perm = matrix.abs().argmax(-1)
    if not bool((perm.sort(-1).values == torch.arange(matrix.shape[-1])).all()):
        return None
    sign = matrix.gather(-1, perm[..., None])[..., 0].sign()
    candidate = SignedPermutation(perm, sign)
    return candidate if bool(((matrix - candidate.matrix()).abs() < tolerance).all()) else None
