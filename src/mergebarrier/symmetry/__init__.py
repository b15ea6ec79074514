"""The freedoms of a transformer: one file per symmetry, which can draw, act, undo, recognise and ignore itself."""

from mergebarrier.symmetry._linear import LinearMap, SignedPermutation
from mergebarrier.symmetry._space import PROFILES, Space, with_bias
from mergebarrier.symmetry.gauge import (
    RESIDUAL,
    Elements,
    Gauge,
    act,
    act_each,
    act_inverse,
    act_inverse_each,
    bit_exact,
    residual_space,
    sample,
    spaces,
)

__all__ = [
    "PROFILES",
    "RESIDUAL",
    "Elements",
    "Gauge",
    "LinearMap",
    "SignedPermutation",
    "Space",
    "act",
    "act_each",
    "act_inverse",
    "act_inverse_each",
    "bit_exact",
    "residual_space",
    "sample",
    "spaces",
    "with_bias",
]
