"""Elements of the groups that act on an axis, and the three ways in which they touch a tensor.

    Monomial   new[j] = factor[j] old[perm[j]]           orders, signs, scales of neurons: no sum is formed
    LinearMap  new = forward old                         any invertible map; carries its inverse
    Planes     z in C per rotary plane, and an element for the entries that are not rotated

Every element holds one map per batch entry (a head group, an expert); a batch of one serves an axis without any.  The
contragredient side takes the inverse transpose: 1 / factor, backward^T, 1 / conj(z).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

# So many elements are moved, or widened, at once: a block and its result stay in the cache of a core.
BLOCK_ELEMENTS = 1 << 18
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}

# An estimate this near to a quarter turn (or a signed permutation) on every plane is taken to be one: task vectors move
# an estimate by about their relative size, keys that are not of this class move it by more on some plane.
SNAP_TOLERANCE = 0.15


@dataclass(frozen=True)
class Monomial:
    """new[j] = factor[j] * old[perm[j]].

    Attributes:
      perm: Int64[Tensor, "batch n"]; factor: Float64[Tensor, "batch n"], nowhere zero.
    """

    perm: Tensor
    factor: Tensor

    @property
    def bit_exact(self) -> bool:
        """True when every factor is a sign: nothing is rounded in any dtype."""
        return bool((self.factor.abs() == 1).all())

    @cached_property
    def contragredient(self) -> "Monomial":
        """Return the inverse transpose."""
        return Monomial(self.perm, 1.0 / self.factor)

    @cached_property
    def unsigned(self) -> "Monomial":
        """Return the order without its factors."""
        return Monomial(self.perm, torch.ones_like(self.factor))

    @cached_property
    def moves(self) -> tuple[bool, bool]:
        """Say whether any entry changes its place, and whether any changes its value."""
        places = torch.arange(self.perm.shape[-1])
        return not bool((self.perm == places).all()), not bool((self.factor == 1).all())

    def inverse(self) -> "Monomial":
        """Return the element that undoes this one."""
        back = torch.argsort(self.perm, dim=-1)
        return Monomial(back, 1.0 / self.factor.gather(-1, back))

    def after(self, before: "Monomial") -> "Monomial":
        """Return the element that acts as another one, then as this one."""
        return Monomial(before.perm.gather(-1, self.perm), self.factor * before.factor.gather(-1, self.perm))

    def matrix(self) -> Tensor:
        """Return Float64[Tensor, "batch n n"]."""
        return torch.nn.functional.one_hot(self.perm, self.perm.shape[-1]).double() * self.factor[..., None]

    def is_identity(self) -> bool:
        """True when nothing moves."""
        return not any(self.moves)


@dataclass(frozen=True)
class LinearMap:
    """A general map and its inverse: Float64[Tensor, "batch n n"] both."""

    forward: Tensor
    backward: Tensor

    bit_exact = False

    @property
    def contragredient(self) -> "LinearMap":
        """Return the inverse transpose."""
        return LinearMap(self.backward.mT, self.forward.mT)

    def inverse(self) -> "LinearMap":
        """Return the element that undoes this one."""
        return LinearMap(self.backward, self.forward)

    def matrix(self) -> Tensor:
        """Return Float64[Tensor, "batch n n"]."""
        return self.forward

    def is_identity(self) -> bool:
        """True when nothing moves."""
        return bool((self.forward == torch.eye(self.forward.shape[-1], dtype=torch.float64)).all())


@dataclass(frozen=True)
class Planes:
    """One complex number per rotary plane, and a map of the entries behind them.

    Attributes:
      z:     Complex128[Tensor, "batch planes"].
      rest:  acts on the entries that are not rotated; None where all are.
      pairs: planes are entries (2i, 2i + 1) instead of (i, i + planes).
    """

    z: Tensor
    rest: "Monomial | LinearMap | None" = None
    pairs: bool = False

    @property
    def bit_exact(self) -> bool:
        """True when every z is a quarter turn and the rest is bit exact."""
        turns = bool(((self.z.real * self.z.imag == 0) & (self.z.abs() == 1)).all())
        return turns and (self.rest is None or self.rest.bit_exact)

    @property
    def contragredient(self) -> "Planes":
        """Return the inverse transpose."""
        z = self.z if self._turns else 1.0 / self.z.conj()
        return Planes(z, None if self.rest is None else self.rest.contragredient, self.pairs)

    def inverse(self) -> "Planes":
        """Return the element that undoes this one."""
        z = self.z.conj().resolve_conj() if self._turns else 1.0 / self.z
        return Planes(z, None if self.rest is None else self.rest.inverse(), self.pairs)

    @property
    def _turns(self) -> bool:
        return bool(((self.z.real * self.z.imag == 0) & (self.z.abs() == 1)).all())

    def is_identity(self) -> bool:
        """True when nothing moves."""
        return bool((self.z == 1).all()) and (self.rest is None or self.rest.is_identity())

    def entries(self) -> tuple[Tensor, Tensor]:
        """Return the places of the first and the second entries of all planes."""
        index = torch.arange(self.z.shape[-1])
        return (2 * index, 2 * index + 1) if self.pairs else (index, index + len(index))

    def plain(self) -> "Monomial | LinearMap":
        """Return the same map without the structure: an order and factors where no plane turns by less, or a matrix."""
        first, second = self.entries()
        rotated = 2 * self.z.shape[-1]
        rest = self.rest
        n = rotated + (0 if rest is None else rest.matrix().shape[-1])
        if bool((self.z.real * self.z.imag == 0).all()) and not isinstance(rest, LinearMap):
            perm = torch.arange(n).repeat(len(self.z), 1)
            factor = torch.ones(len(self.z), n, dtype=torch.float64)
            turned, sign = self.z.real == 0, self.z.real + self.z.imag
            # z = ri: a <- -rb, b <- ra;  z = -ri: a <- rb, b <- -ra;  z = +-r: both times z.
            perm[:, first], perm[:, second] = torch.where(turned, second, first), torch.where(turned, first, second)
            factor[:, first], factor[:, second] = torch.where(turned, -sign, sign), sign
            if rest is not None:
                perm[:, rotated:], factor[:, rotated:] = rest.perm + rotated, rest.factor
            return Monomial(perm, factor)
        return LinearMap(self._dense(n, self.z), self._dense(n, 1.0 / self.z, inverse=True))

    def _dense(self, n: int, z: Tensor, *, inverse: bool = False) -> Tensor:
        first, second = self.entries()
        matrix = torch.zeros(len(z), n, n, dtype=torch.float64)
        matrix[:, first, first], matrix[:, first, second] = z.real, -z.imag
        matrix[:, second, first], matrix[:, second, second] = z.imag, z.real
        if self.rest is not None:
            rest = self.rest.inverse() if inverse else self.rest
            matrix[:, 2 * z.shape[-1] :, 2 * z.shape[-1] :] = rest.matrix()
        return matrix


Element = Monomial | LinearMap | Planes


def compose(after: Element, before: Element) -> Element:
    """Return the element that acts as ``before``, then ``after``."""
    if isinstance(after, Planes) and isinstance(before, Planes):
        rests = [one.rest for one in (after, before)]
        rest = None if rests[0] is None or rests[1] is None else compose(rests[0], rests[1])
        assert not isinstance(rest, Planes)
        return Planes(after.z * before.z, rest, after.pairs)
    assert not isinstance(after, Planes) and not isinstance(before, Planes)
    if isinstance(after, Monomial) and isinstance(before, Monomial):
        return after.after(before)
    return LinearMap(after.matrix() @ before.matrix(), before.inverse().matrix() @ after.inverse().matrix())


def identity(batch: int, n: int) -> Monomial:
    """Return the identity on ``batch`` copies of R^n."""
    return Monomial(torch.arange(n).repeat(batch, 1), torch.ones(batch, n, dtype=torch.float64))


def nearest_signed_permutation(matrix: Tensor) -> Monomial | None:
    """Return the signed permutation that every entry of matrix[batch, n, n] is near to, or None."""
    perm = matrix.abs().argmax(-1)
    if not bool((perm.sort(-1).values == torch.arange(matrix.shape[-1])).all()):
        return None
    candidate = Monomial(perm, matrix.gather(-1, perm[..., None])[..., 0].sign())
    return candidate if bool(((matrix - candidate.matrix()).abs() < SNAP_TOLERANCE).all()) else None


def take(tensor: Tensor, place: int, index: Tensor) -> Tensor:
    """Return a float tensor with the entries of one dimension in another order.

    ``numpy.take`` on the bit patterns is three times as fast on the processor as torch's ``index_select`` along rows.
    """
    if tensor.dim() != 2 or tensor.device.type != "cpu":
        return tensor.index_select(place, index)
    moved = torch.empty_like(tensor, memory_format=torch.contiguous_format)
    bits = _BITS[tensor.element_size()]
    # "clip" takes no buffer of its own; no index of a permutation is ever clipped.
    np.take(tensor.contiguous().view(bits).numpy(), index.numpy(), axis=1, out=moved.view(bits).numpy(), mode="clip")
    return moved


class AxisFactors:
    """What multiplies the entries of one stored axis.

    Signs are flipped by their bits, zeros included.  Scales of 16-bit weights multiply in float32, exact enough to be
    rounded once; wider weights give float64.
    """

    def __init__(self, factor: Tensor, itemsize: int) -> None:
        """Take factors, Float64[Tensor, "n"], for tensors of so many bytes per element."""
        bits = _BITS[itemsize]
        self._factor, self._bits = factor, bits
        signs = bool((factor.abs() == 1).all())
        self._flips = (factor < 0).to(bits) << (8 * itemsize - 1) if signs else None

    def scaled(self, block: Tensor, place: int, entries: slice) -> Tensor:
        """Multiply a block that is ours."""
        shape = [-1 if other == place else 1 for other in range(block.dim())]
        if self._flips is not None and block.element_size() == self._bits.itemsize:
            block.view(self._bits).bitwise_xor_(self._flips[entries].reshape(shape))
            return block
        factor = self._factor[entries].reshape(shape)
        if block.element_size() > 2:
            return block.double() * factor
        return block.copy_(block.float().mul_(factor.float()))


def product(forward: Tensor, flat: Tensor) -> Tensor:
    """Return forward @ flat in float64, widening a few columns at a time."""
    out = torch.empty(flat.shape, dtype=torch.float64)
    step = max(1, BLOCK_ELEMENTS // max(1, flat.shape[0] * flat.shape[1]))
    for columns, into in zip(flat.split(step, dim=2), out.split(step, dim=2), strict=True):
        into.copy_(forward @ columns.double())
    return out
