"""What the spaces share whose element is one map of R^head_dim per key/value head: drawing, inverse, composition.

``lossless`` draws signed permutations, ``full`` general maps of bounded condition, one group after the other
from one stream; a space adds only on which tensors the map acts, and from which side.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mergebarrier.symmetry import draw as maps
from mergebarrier.symmetry import linear
from mergebarrier.symmetry.linear import Linear, LinearMap, SignedPermutation
from mergebarrier.symmetry.space import Draw


@dataclass(frozen=True)
class HeadMaps:
    """One map per key/value head; ``purpose`` names the stream that it is drawn from."""

    purpose: ClassVar[str]

    n_heads: int
    n_kv_heads: int
    head_dim: int

    def identity(self) -> SignedPermutation:
        """Return the map that moves nothing."""
        return linear.identity(self.n_kv_heads, self.head_dim)

    def sample(self, draw: Draw, *, profile: str, condition: float) -> Linear:
        """Draw signed permutations (lossless), or maps of bounded condition (full)."""
        stream, groups = draw(self.purpose), range(self.n_kv_heads)
        if profile == "lossless":
            perm = torch.stack([torch.from_numpy(maps.permutation(stream, self.head_dim)) for _ in groups])
            sign = torch.stack([torch.from_numpy(maps.signs(stream, self.head_dim)) for _ in groups])
            return SignedPermutation(perm, sign)
        pairs = [maps.general_linear(stream, self.head_dim, condition) for _ in groups]
        return LinearMap(
            *(torch.stack([torch.from_numpy(side) for side in sides]) for sides in zip(*pairs, strict=True))
        )

    def inverse(self, element: Linear) -> Linear:
        """Return the inverse."""
        return element.inverse()

    def compose(self, after: Linear, before: Linear) -> Linear:
        """Return the product."""
        return linear.compose(after, before)

    def bit_exact(self, element: Linear) -> bool:
        """True for signed permutations."""
        return element.bit_exact
