"""Queries and keys meet only in a dot product, so what one gains the other may lose.

Without rotation any invertible map U of a head serves: q <- U q, k <- U^-T k.  With RoPE the map must commute with
every rotation, which leaves one complex number z per plane (a pair of dims that turn together): q <- z q, k <- k /
conj(z). Query heads that share a key head share the element.

    plane i = dims (i, i + head_dim/2), c = w_a + j w_b;    invariant: conj(c_q)^T c_k per plane, or W_q^T W_k per head

Source: the commutant of RoPE is (C*)^(head_dim/2), arXiv 2606.17830 and OpenReview KrkbYbK0cH.  Estimation regresses
protected on anchor (the anchor is noise-free) and pools q and k by their energies.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mergebarrier.symmetry import draw as maps
from mergebarrier.symmetry import joint, linear
from mergebarrier.symmetry.head_maps import HeadMaps
from mergebarrier.symmetry.linear import Linear, LinearMap, flip_signs
from mergebarrier.symmetry.space import SNAP_TOLERANCE, Draw, Tensors, map_rows, replaced, with_bias

_SILENT_PLANE = 1e-12


@dataclass(frozen=True)
class QueryKeyPlanes:
    """Rotary heads.  Element: Complex128[Tensor, "G planes"]."""

    n_heads: int
    n_kv_heads: int
    head_dim: int

    @property
    def _planes(self) -> int:
        return self.head_dim // 2

    def identity(self) -> Tensor:
        """Return z = 1 everywhere."""
        return torch.ones(self.n_kv_heads, self._planes, dtype=torch.complex128)

    def sample(self, draw: Draw, *, profile: str, condition: float) -> Tensor:
        """Draw from purpose ``qk``: quarter turns (lossless), or free phases and scales (full)."""
        stream, n = draw("qk"), self.n_kv_heads * self._planes
        if profile == "lossless":
            z = maps.quarter_turns(stream, n)
        else:
            z = maps.phases(stream, n)
            # |z| acts on q and 1/|z| on k: its square root keeps the condition of either within the bound.
            z = z * maps.scales(stream, n, condition)
        return torch.from_numpy(z).reshape(self.n_kv_heads, self._planes)

    def _turn(self, weight: Tensor, z: Tensor, heads: int) -> Tensor:
        """Multiply the planes of weight[heads * head_dim, m] by z[heads, planes]."""
        if self.bit_exact(z):
            # A signed order of rows: even the sign of a zero survives the way back.
            turned, sign = z.real == 0, z.real + z.imag
            straight = torch.arange(2 * heads * self._planes).reshape(heads, 2, self._planes)
            order = torch.where(turned[:, None], straight.flip(1), straight)
            signs = torch.stack([torch.where(turned, -sign, sign), sign], dim=1)
            return flip_signs(weight.index_select(0, order.reshape(-1)), signs.reshape(-1, 1))
        pairs = weight.reshape(heads, 2, self._planes, -1)
        a, b = pairs[:, 0].double(), pairs[:, 1].double()
        real, imag = z.real[..., None], z.imag[..., None]
        return torch.stack([real * a - imag * b, imag * a + real * b], dim=1).reshape(weight.shape)

    def act(self, element: Tensor, tensors: Tensors) -> dict[str, Tensor]:
        """Turn q by z and k by 1/conj(z); float64 out unless every z is a quarter turn."""
        if bool((element == 1).all()):
            return dict(tensors)
        z_query = element.repeat_interleave(self.n_heads // self.n_kv_heads, dim=0)
        z_key = element if self.bit_exact(element) else 1.0 / element.conj()
        return replaced(
            tensors,
            map_rows(tensors, "q", lambda w: self._turn(w, z_query, self.n_heads))
            | map_rows(tensors, "k", lambda w: self._turn(w, z_key, self.n_kv_heads)),
        )

    def inverse(self, element: Tensor) -> Tensor:
        """Return 1/z."""
        return element.conj().resolve_conj() if self.bit_exact(element) else 1.0 / element

    def compose(self, after: Tensor, before: Tensor) -> Tensor:
        """Return the product."""
        return after * before

    def _complex(self, tensors: Tensors, role: str) -> Tensor:
        """Planes of a role as Complex128[Tensor, "G rows planes m"], biases as a last column."""
        pairs = with_bias(tensors, role)
        pairs = pairs.reshape(self.n_kv_heads, -1, 2, self._planes, pairs.shape[1])
        return torch.complex(pairs[:, :, 0], pairs[:, :, 1])

    def estimate(self, tensors: Tensors, anchor: Tensors) -> Tensor:
        """Pooled forward regression per plane; snapped when every plane is within .15 of a quarter turn."""

        def regress(role: str) -> tuple[Tensor, Tensor]:
            now, then = self._complex(tensors, role), self._complex(anchor, role)
            energy = then.abs().square().sum((1, 3))
            return (now * then.conj()).sum((1, 3)) / energy.clamp_min(1e-300), energy

        z_query, energy_query = regress("q")
        z_key, energy_key = regress("k")
        z_key = 1.0 / z_key.conj()
        share = energy_query / (energy_query + energy_key).clamp_min(1e-300)
        size = torch.exp(share * z_query.abs().log() + (1 - share) * z_key.abs().log())
        turn = share * z_query / z_query.abs() + (1 - share) * z_key / z_key.abs()
        z = size * turn / turn.abs()
        energy = energy_query + energy_key
        usable = (energy > _SILENT_PLANE * energy.mean()) & torch.isfinite(z.abs()) & (z.abs() > 0)
        z = torch.where(usable, z, torch.ones_like(z))
        quarter = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128)
        nearest = quarter[(z[..., None] - quarter).abs().argmin(-1)]
        return nearest if bool(((z - nearest).abs() < SNAP_TOLERANCE).all()) else z

    def invariants(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return conj(c_q) . c_k per query head and plane on 32 x 32 columns, real and imaginary parts stacked."""
        query, key = self._complex(tensors, "q")[..., :32], self._complex(tensors, "k")[..., :32]
        product = torch.einsum("grpm,gpn->grpmn", query.conj(), key[:, 0])
        return {"query_key": torch.stack([product.real, product.imag])}

    def bit_exact(self, element: Tensor) -> bool:
        """True when every z is a quarter turn."""
        return bool(((element.real * element.imag == 0) & (element.abs() == 1)).all())


@dataclass(frozen=True)
class QueryKeyLinear(HeadMaps):
    """Heads without rotation.  Element: one map of R^head_dim per key/value head."""

    purpose: ClassVar[str] = "qk"

    def act(self, element: Linear, tensors: Tensors) -> dict[str, Tensor]:
        """Act on q by U, on k by U^-T, biases with their rows."""
        if element.is_identity():
            return dict(tensors)
        g, dh = self.n_kv_heads, self.head_dim

        def query(w: Tensor) -> Tensor:
            # The query heads of a group sit side by side as columns: one product per group.
            heads = w.reshape(g, -1, dh, w.shape[1]).transpose(1, 2)
            return element.rows(heads.reshape(g, dh, -1)).reshape(heads.shape).transpose(1, 2).reshape(w.shape)

        def key(w: Tensor) -> Tensor:
            return element.inverse_transpose_rows(w.reshape(g, dh, -1)).reshape(w.shape)

        return replaced(tensors, map_rows(tensors, "q", query) | map_rows(tensors, "k", key))

    def estimate(self, tensors: Tensors, anchor: Tensors) -> Linear:
        """Joint fit of k and q per group, without b_k (a softmax does not see it); snapped when near a permutation."""

        def sides(source: Tensors) -> tuple[Tensor, Tensor]:
            key = source["k.weight"].double().reshape(self.n_kv_heads, self.head_dim, -1)
            query = with_bias(source, "q")
            query = query.reshape(self.n_kv_heads, -1, self.head_dim, query.shape[1])
            return key, query.transpose(2, 3).reshape(self.n_kv_heads, -1, self.head_dim)

        (key, query), (key0, query0) = sides(tensors), sides(anchor)
        # The joint fit speaks of V = A V0 and O = O0 A^-1; here k = U^-T k0 and q^T = q0^T U^T, so A = U^-T.
        fitted = joint.fit(key, query, key0, query0)
        found = LinearMap(fitted.backward.mT, fitted.forward.mT)
        return linear.nearest_signed_permutation(found.forward, SNAP_TOLERANCE) or found

    def invariants(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return W_q^T W_k per query head, first 64 columns."""
        query = tensors["q.weight"].double().reshape(self.n_kv_heads, -1, self.head_dim, tensors["q.weight"].shape[1])
        key = tensors["k.weight"].double().reshape(self.n_kv_heads, 1, self.head_dim, -1)
        return {"query_key": query[..., :64].mT @ key[..., :64]}
