"""The residual stream may be written in any signed order of its coordinates, as long as every layer uses the same.

Readers (embedding, q, k, v, gate, up, head) permute their columns, writers (o, down and their biases) their rows, gains
their entries.  RMSNorm does not see signs; LayerNorm subtracts a mean, so there one global sign is all that is free.

    reader W <- W[:, p] * e     writer W <- W[p] * e, b <- b[p] * e     gain g <- g[p]     shift b <- b[p] * e

One element serves the whole model; it is estimated from sum E'^T E0 over embedding and head (vocabulary rows
correspond), later also over matched readers and writers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.arch import LOGICAL
from mergebarrier.symmetry import draw as maps
from mergebarrier.symmetry.linear import SignedPermutation, compose, flip_signs, identity, take_columns
from mergebarrier.symmetry.space import Draw, Tensors


@dataclass(frozen=True)
class Correlation:
    """Sums over matrices: how coordinate j now goes with coordinate k of the anchor.

    Attributes:
      total: Float64[Tensor, "d d"]; energy_now, energy_then: Float64[Tensor, "d"], squared norms of the coordinates.
    """

    total: Tensor
    energy_now: Tensor
    energy_then: Tensor

    @classmethod
    def zero(cls, hidden: int) -> "Correlation":
        """Return the empty sum."""
        vector = torch.zeros(hidden, dtype=torch.float64)
        return cls(torch.zeros(hidden, hidden, dtype=torch.float64), vector, vector)

    def __add__(self, other: "Correlation") -> "Correlation":
        """Add the share of further matrices."""
        return Correlation(
            self.total + other.total, self.energy_now + other.energy_now, self.energy_then + other.energy_then
        )

    def cosines(self) -> Tensor:
        """Divide by the norms, so that a loud coordinate does not outbid a quiet one."""
        left, right = (energy.sqrt().clamp_min(1e-300) for energy in (self.energy_now, self.energy_then))
        return self.total / left[:, None] / right[None, :]


@dataclass(frozen=True)
class Residual:
    """Signed permutations of the stream; ``centred`` (LayerNorm) allows one global sign only."""

    hidden: int
    centred: bool

    def identity(self) -> SignedPermutation:
        """Return the element that moves nothing."""
        return identity(1, self.hidden)

    def sample(self, draw: Draw, *, profile: str, condition: float) -> SignedPermutation:
        """Draw from purposes ``perm`` and ``sign``; both profiles alike."""
        del profile, condition
        perm = torch.from_numpy(maps.permutation(draw("perm"), self.hidden))[None]
        sign = torch.from_numpy(maps.signs(draw("sign"), self.hidden))[None]
        return SignedPermutation(perm, sign[:, :1].expand(1, self.hidden).clone() if self.centred else sign)

    def act(self, element: SignedPermutation, tensors: Tensors) -> dict[str, Tensor]:
        """Act on any circuit; dtype kept, no rounding."""
        if element.is_identity():
            return dict(tensors)
        perm, sign = element.perm[0], element.sign[0]
        moved = {}
        for name, tensor in tensors.items():
            stream = LOGICAL[name].stream
            if stream == "":
                moved[name] = tensor
                continue
            axis = 1 if stream == "columns" else 0
            permuted = take_columns(tensor, perm) if axis == 1 else tensor.index_select(0, perm)
            if name != "norm.weight":
                flip_signs(permuted, sign[:, None] if axis == 0 and tensor.ndim == 2 else sign)
            moved[name] = permuted
        return moved

    def inverse(self, element: SignedPermutation) -> SignedPermutation:
        """Return the inverse."""
        return element.inverse()

    def compose(self, after: SignedPermutation, before: SignedPermutation) -> SignedPermutation:
        """Return ``after`` behind ``before``."""
        both = compose(after, before)
        assert isinstance(both, SignedPermutation)
        return both

    def correlate(self, tensors: Tensors, anchor: Tensors) -> "Correlation":
        """Return what one circuit says about the element.

        Readers and writers must already be in matching order on their other axis; vectors carry no share.
        """
        share = Correlation.zero(self.hidden)
        for name, tensor in tensors.items():
            entry = LOGICAL[name]
            if entry.columns is None or not entry.stream:
                continue
            now, then = (
                side.float() if entry.stream == "columns" else side.float().T for side in (tensor, anchor[name])
            )
            energies = ((side * side).sum(0).double() for side in (now, then))
            share = share + Correlation((now.T @ then).double(), *energies)
        return share

    def from_correlation(self, correlation: "Correlation") -> SignedPermutation:
        """Return the signed permutation that maximises the total of cosines, by assignment."""
        from scipy.optimize import linear_sum_assignment

        cosines = correlation.cosines()
        # LayerNorm: the order under either global sign, the better of the two.
        views = (cosines, -cosines) if self.centred else (cosines.abs(),)
        orders = [torch.from_numpy(linear_sum_assignment(view.numpy(), maximize=True)[1]) for view in views]
        rows = torch.arange(self.hidden)
        perm = max(zip(views, orders, strict=True), key=lambda pair: float(pair[0][rows, pair[1]].sum()))[1]
        matched = cosines[rows, perm]
        if self.centred:
            matched = matched.sum().expand(self.hidden)
        return SignedPermutation(perm[None], torch.where(matched < 0, -1.0, 1.0).double()[None])

    def estimate(self, tensors: Tensors, anchor: Tensors) -> SignedPermutation:
        """Return the element from one circuit, best the embedding."""
        return self.from_correlation(self.correlate(tensors, anchor))

    def invariants(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return E E^T over the stream axis of the first 256 rows of every reader."""
        return {
            name: tensor[:256].double() @ tensor[:256].double().T
            for name, tensor in tensors.items()
            if LOGICAL[name].stream == "columns"
        }

    def bit_exact(self, element: SignedPermutation) -> bool:
        """Always: signs and order only."""
        return element.bit_exact
