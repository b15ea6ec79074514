"""Merge algorithms as pure functions on blocks: a method is a frozen dataclass, the registry a literal dict."""

import dataclasses
import difflib
from typing import Any

from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge._merge import Merge
from mergebarrier.merge._plan import MergeUnit, Plan, plan
from mergebarrier.merge.arcee_fusion import ArceeFusion
from mergebarrier.merge.breadcrumbs import Breadcrumbs, BreadcrumbsTies
from mergebarrier.merge.consensus import Consensus
from mergebarrier.merge.dare import DareLinear, DareTies
from mergebarrier.merge.della import Della, DellaLinear
from mergebarrier.merge.emr import Emr
from mergebarrier.merge.isotropic import IsoC, IsoCts
from mergebarrier.merge.karcher import Karcher
from mergebarrier.merge.linear import Linear
from mergebarrier.merge.magmax import MagMax
from mergebarrier.merge.model_stock import ModelStock
from mergebarrier.merge.multislerp import MultiSlerp
from mergebarrier.merge.nearswap import NearSwap
from mergebarrier.merge.nuslerp import NuSlerp
from mergebarrier.merge.passthrough import Passthrough
from mergebarrier.merge.pcb import Pcb
from mergebarrier.merge.ram import Ram, RamPlus
from mergebarrier.merge.sce import Sce
from mergebarrier.merge.slerp import Slerp
from mergebarrier.merge.task_arithmetic import TaskArithmetic
from mergebarrier.merge.ties import Ties
from mergebarrier.merge.tsv import TsvM
from mergebarrier.merge.wudi import Wudi, WudiExact

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
}

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
    "Linear",
    "MagMax",
    "Merge",
    "MergeUnit",
    "ModelStock",
    "MultiSlerp",
    "NearSwap",
    "NuSlerp",
    "Passthrough",
    "Pcb",
    "Plan",
    "Ram",
    "RamPlus",
    "Sce",
    "Slerp",
    "TaskArithmetic",
    "Ties",
    "TsvM",
    "Wudi",
    "WudiExact",
    "make",
    "plan",
]


def make(method: str, **parameters: Any) -> Merge:
    """Build a merge method by name, refusing what it does not know.

    Args:
      method:     a key of MERGES.
      parameters: hyper-parameters of that method; absent ones take its defaults.
    Raises:  BadMergeParameter for an unknown method or parameter (with the nearest name), a missing or bad one.

    Example:
      >>> make("ties", density=0.2).density
      0.2
    """
    if method not in MERGES:
        raise BadMergeParameter(f"unknown merge method{_nearest(method, MERGES)}", where=method, remedy=_list(MERGES))
    fields = {field.name: field for field in dataclasses.fields(MERGES[method])}
    for name in parameters:
        if name not in fields:
            raise BadMergeParameter(
                f"has no parameter {name!r}{_nearest(name, fields)}", where=method, remedy=_list(fields)
            )
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in parameters:
            raise BadMergeParameter(f"needs the parameter {name!r}", where=method, remedy=f"give {name}")
    return MERGES[method](**parameters)


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _list(known: Any) -> str:
    return "choose from " + ", ".join(known)
