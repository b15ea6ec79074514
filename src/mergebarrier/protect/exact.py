"""Publish the same function in secret coordinates: a keyed gauge over every exact symmetry of the model.

Stock merging averages coordinates that no longer correspond, so it collapses; the model itself computes what it did.
``lossless`` uses the bit-exact subset (orders, signs, quarter turns), so that the key restores every bit of every
weight; ``full`` adds free rotary phases and real maps of bounded condition number, and rounds once.

    published = g(key) . weights,      f(g . weights) = f(weights) for every g in the gauge group

Sources: PaRaMS and MergeLock use subsets of this group (permutations and scales, value/output and query/key maps).
We differ: all spaces at once, keyed per circuit, invertible, condition number bounded by what a quantiser tolerates.
Limit: whoever holds the public base estimates g and undoes it (``realign gaugefix``), whatever the key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from mergebarrier import symmetry
from mergebarrier.arch import Architecture, Circuit
from mergebarrier.errors import MethodRefused, UsageError
from mergebarrier.protect.protection import Pieces, Streams

# What the command line calls the parts, and the spaces behind each.
PARTS: Mapping[str, tuple[str, ...]] = {
    "attention": ("query_key", "value_output"),
    "heads": ("heads",),
    "mlp": ("neurons",),
    "residual": ("residual",),
}

# Above this, rounding to a 16-bit dtype and later quantisation eat more than the protection is worth.
MAX_CONDITION = 4.0


@dataclass(frozen=True)
class Exact:
    """Hyper-parameters of ``exact``.

    Args:
      profile:   "lossless" or "full".
      only:      parts to act on, a subset of attention, heads, mlp, residual.
      condition: largest condition number of a real map in ``full``, 1 <= condition <= 4.
    Raises: UsageError for anything else.
    """

    name: ClassVar[str] = "exact"
    keyed: ClassVar[bool] = True

    profile: str = "lossless"
    only: tuple[str, ...] = tuple(PARTS)
    condition: float = 3.0

    def __post_init__(self) -> None:
        """Validate."""
        if self.profile not in symmetry.PROFILES:
            raise UsageError(f"unknown profile {self.profile!r}", remedy="use " + " or ".join(symmetry.PROFILES))
        unknown = [part for part in self.only if part not in PARTS]
        if unknown or not self.only:
            raise UsageError(f"unknown part {unknown}", where="--only", remedy="use " + ", ".join(PARTS))
        if not 1.0 <= self.condition <= MAX_CONDITION:
            raise UsageError(f"condition {self.condition} is outside [1, {MAX_CONDITION}]", where="--condition")

    @property
    def spaces(self) -> frozenset[str]:
        """Spaces to act on."""
        return frozenset(space for part in self.only for space in PARTS[part])

    def check(self, architecture: Architecture, dtypes: Mapping[str, str]) -> None:
        """Refuse ``full`` on float16: its narrow range makes real scales lossy in a way that we do not bound."""
        del architecture
        narrow = next((name for name, dtype in dtypes.items() if dtype == "F16"), None)
        if self.profile == "full" and narrow is not None:
            raise MethodRefused("profile full needs bfloat16 or wider, this tensor is float16", where=narrow,
                                remedy="use --profile lossless")  # fmt: skip

    def describe(self, architecture: Architecture) -> dict[str, Any]:
        """Return effective parameters for the manifest."""
        del architecture
        lossless = self.profile == "lossless"
        return {
            "profile": self.profile,
            "only": sorted(self.only),
            "condition": 1.0 if lossless else self.condition,
            "spaces": sorted(self.spaces),
            "reversibility": "exact" if lossless else "tolerant",
            "determinism": "exact" if lossless else "profile",
        }

    def _elements(self, circuit: Circuit, streams: Streams | None) -> symmetry.Elements:
        assert streams is not None
        return symmetry.sample(circuit, streams, only=self.spaces, profile=self.profile, condition=self.condition)

    def apply(self, circuit: Circuit, tensors: dict[str, Tensor], streams: Streams | None) -> Pieces:
        """Act with the keyed gauge of this circuit."""
        return symmetry.act_each(circuit, self._elements(circuit, streams), tensors)

    def invert(self, circuit: Circuit, tensors: dict[str, Tensor], streams: Streams | None) -> Pieces:
        """Undo it."""
        return symmetry.act_inverse_each(circuit, self._elements(circuit, streams), tensors)
