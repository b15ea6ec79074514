"""Between value and output projection a head may use any basis of its own.

v <- M v per key/value head, and the columns of o that read it take M^-1; softmax weights, RoPE and soft caps never look
inside.  The invariant is the product W_o W_v of a head, with its singular values.

    V_g <- M V_g (bias too)        O_h <- O_h M^-1 for every query head h of group g

Source: the value/output factor GL(head_dim)^H of the attention gauge group, OpenReview K1df8mmncF.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mergebarrier.symmetry import joint, linear
from mergebarrier.symmetry.head_maps import HeadMaps
from mergebarrier.symmetry.linear import Linear
from mergebarrier.symmetry.space import SNAP_TOLERANCE, Tensors, map_rows, replaced, with_bias


@dataclass(frozen=True)
class ValueOutput(HeadMaps):
    """Element: one map of R^head_dim per key/value head."""

    purpose: ClassVar[str] = "vo"

    def act(self, element: Linear, tensors: Tensors) -> dict[str, Tensor]:
        """Act on v by M and on the columns of o by M^-1."""
        if element.is_identity():
            return dict(tensors)
        g, dh = self.n_kv_heads, self.head_dim

        def value(w: Tensor) -> Tensor:
            return element.rows(w.reshape(g, dh, -1)).reshape(w.shape)

        changes = map_rows(tensors, "v", value)
        if "o.weight" in tensors:
            output = tensors["o.weight"]
            heads = output.reshape(output.shape[0], g, -1, dh).transpose(1, 2)  # (d, r, G, dh)
            moved = element.columns(heads.reshape(-1, g, dh)).reshape(heads.shape)
            changes["o.weight"] = moved.transpose(1, 2).reshape(output.shape)
        return replaced(tensors, changes)

    def _sides(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        value = with_bias(tensors, "v")
        output = (
            tensors["o.weight"].double().reshape(-1, self.n_kv_heads, self.n_heads // self.n_kv_heads, self.head_dim)
        )
        return (
            value.reshape(self.n_kv_heads, self.head_dim, -1),
            output.permute(1, 2, 0, 3).reshape(self.n_kv_heads, -1, self.head_dim),
        )

    def estimate(self, tensors: Tensors, anchor: Tensors) -> Linear:
        """Joint fit of v and o per group; snapped when near a signed permutation."""
        fitted = joint.fit(*self._sides(tensors), *self._sides(anchor))
        return linear.nearest_signed_permutation(fitted.forward, SNAP_TOLERANCE) or fitted

    def invariants(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return O_h V_g for all heads of a group stacked, first 64 columns."""
        value, output = self._sides(tensors)
        return {"value_output": output[:, :256] @ value[..., :64]}
