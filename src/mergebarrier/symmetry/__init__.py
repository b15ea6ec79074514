"""The freedoms of a transformer: one file per symmetry, which can draw, apply, undo, estimate and ignore it."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.symmetry.draw import Stream
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
    from mergebarrier.symmetry.linear import LinearMap, SignedPermutation
    from mergebarrier.symmetry.neurons import NeuronMap, assign, cosines
    from mergebarrier.symmetry.residual import Correlation, Residual
    from mergebarrier.symmetry.space import PROFILES, Space, with_bias

__all__ = [
    "PROFILES",
    "RESIDUAL",
    "Correlation",
    "Elements",
    "Gauge",
    "LinearMap",
    "NeuronMap",
    "Residual",
    "SignedPermutation",
    "Space",
    "Stream",
    "act",
    "act_each",
    "act_inverse",
    "act_inverse_each",
    "assign",
    "bit_exact",
    "cosines",
    "residual_space",
    "sample",
    "spaces",
    "with_bias",
]

doors.open_lazily(__name__)
