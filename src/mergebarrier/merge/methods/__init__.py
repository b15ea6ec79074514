"""One file per merge method that needs no data, and what they share."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.methods._thinned import TaskVectorMerge
    from mergebarrier.merge.methods.arcee_fusion import ArceeFusion
    from mergebarrier.merge.methods.breadcrumbs import Breadcrumbs, BreadcrumbsTies
    from mergebarrier.merge.methods.consensus import Consensus
    from mergebarrier.merge.methods.dare import DareLinear, DareTies
    from mergebarrier.merge.methods.della import Della, DellaLinear
    from mergebarrier.merge.methods.emr import Emr
    from mergebarrier.merge.methods.karcher import Karcher
    from mergebarrier.merge.methods.linear import Linear
    from mergebarrier.merge.methods.magmax import MagMax
    from mergebarrier.merge.methods.model_stock import ModelStock
    from mergebarrier.merge.methods.multislerp import MultiSlerp
    from mergebarrier.merge.methods.nearswap import NearSwap
    from mergebarrier.merge.methods.nuslerp import NuSlerp
    from mergebarrier.merge.methods.passthrough import Passthrough
    from mergebarrier.merge.methods.pcb import Pcb
    from mergebarrier.merge.methods.product_space import ProductSpace
    from mergebarrier.merge.methods.ram import Ram, RamPlus
    from mergebarrier.merge.methods.registry import MERGES
    from mergebarrier.merge.methods.sce import Sce
    from mergebarrier.merge.methods.slerp import Slerp
    from mergebarrier.merge.methods.spectral import IsoC, IsoCts, Knots, TsvM, Wudi, WudiExact
    from mergebarrier.merge.methods.task_arithmetic import TaskArithmetic
    from mergebarrier.merge.methods.ties import Ties

__all__ = [
    "MERGES",
    "ArceeFusion",
    "Breadcrumbs",
    "BreadcrumbsTies",
    "Consensus",
    "DareLinear",
    "DareTies",
    "Della",
    "DellaLinear",
    "Emr",
    "IsoC",
    "IsoCts",
    "Karcher",
    "Knots",
    "Linear",
    "MagMax",
    "ModelStock",
    "MultiSlerp",
    "NearSwap",
    "NuSlerp",
    "Passthrough",
    "Pcb",
    "ProductSpace",
    "Ram",
    "RamPlus",
    "Sce",
    "Slerp",
    "TaskArithmetic",
    "TaskVectorMerge",
    "Ties",
    "TsvM",
    "Wudi",
    "WudiExact",
]

lazy.open_door(__name__)
