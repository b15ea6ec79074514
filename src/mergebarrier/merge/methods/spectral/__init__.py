"""Merge methods that look at singular values and at the geometry of the task vectors."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.methods.spectral.isotropic import IsoC, IsoCts
    from mergebarrier.merge.methods.spectral.knots import Knots
    from mergebarrier.merge.methods.spectral.tsv import TsvM
    from mergebarrier.merge.methods.spectral.wudi import Wudi, WudiExact

__all__ = [
    "IsoC",
    "IsoCts",
    "Knots",
    "TsvM",
    "Wudi",
    "WudiExact",
]

lazy.open_door(__name__)
