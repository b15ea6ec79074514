"""Every merge method that needs no data, by the name that recipes, flags and manifests use."""

from mergebarrier.merge.method import Merge
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
from mergebarrier.merge.methods.sce import Sce
from mergebarrier.merge.methods.slerp import Slerp
from mergebarrier.merge.methods.spectral import IsoC, IsoCts, Knots, TsvM, Wudi, WudiExact
from mergebarrier.merge.methods.task_arithmetic import TaskArithmetic
from mergebarrier.merge.methods.ties import Ties

MERGES: dict[str, type[Merge]] = {
    "linear": Linear,
    "task_arithmetic": TaskArithmetic,
    "ties": Ties,
    "dare_linear": DareLinear,
    "dare_ties": DareTies,
    "slerp": Slerp,
    "nuslerp": NuSlerp,
    "multislerp": MultiSlerp,
    "karcher": Karcher,
    "nearswap": NearSwap,
    "passthrough": Passthrough,
    "breadcrumbs": Breadcrumbs,
    "breadcrumbs_ties": BreadcrumbsTies,
    "della": Della,
    "della_linear": DellaLinear,
    "model_stock": ModelStock,
    "sce": Sce,
    "arcee_fusion": ArceeFusion,
    "ram": Ram,
    "ramplus_tl": RamPlus,
    "magmax": MagMax,
    "consensus": Consensus,
    "emr": Emr,
    "pcb": Pcb,
    "iso_c": IsoC,
    "iso_cts": IsoCts,
    "tsv_m": TsvM,
    "wudi": Wudi,
    "wudi_exact": WudiExact,
    "knots": Knots,
    "product_space": ProductSpace,
}
