"""Merge algorithms as pure functions on blocks: a method is a frozen dataclass, the registry a literal dict."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge._data import DataMerge, Learned, TaskData, outputs_of
from mergebarrier.merge._merge import Merge
from mergebarrier.merge._plan import MergeUnit, Plan, plan
from mergebarrier.merge.adamerging import AdaMerging
from mergebarrier.merge.arcee_fusion import ArceeFusion
from mergebarrier.merge.breadcrumbs import Breadcrumbs, BreadcrumbsTies
from mergebarrier.merge.concrete import Concrete
from mergebarrier.merge.consensus import Consensus
from mergebarrier.merge.dare import DareLinear, DareTies
from mergebarrier.merge.della import Della, DellaLinear
from mergebarrier.merge.emr import Emr
from mergebarrier.merge.fisher import Fisher
from mergebarrier.merge.isotropic import IsoC, IsoCts
from mergebarrier.merge.karcher import Karcher
from mergebarrier.merge.knots import Knots
from mergebarrier.merge.linear import Linear
from mergebarrier.merge.magmax import MagMax
from mergebarrier.merge.model_stock import ModelStock
from mergebarrier.merge.multislerp import MultiSlerp
from mergebarrier.merge.nearswap import NearSwap
from mergebarrier.merge.nuslerp import NuSlerp
from mergebarrier.merge.passthrough import Passthrough
from mergebarrier.merge.pcb import Pcb
from mergebarrier.merge.ram import Ram, RamPlus
from mergebarrier.merge.regmean import RegMean, RegMeanPlus
from mergebarrier.merge.sce import Sce
from mergebarrier.merge.slerp import Slerp
from mergebarrier.merge.surgery import Correction, Surgery
from mergebarrier.merge.task_arithmetic import TaskArithmetic
from mergebarrier.merge.ties import Ties
from mergebarrier.merge.tsv import TsvM
from mergebarrier.merge.wudi import Wudi, WudiExact

_M = TypeVar("_M", Merge, DataMerge)

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
}

#: The merges that learn from data, built by ``make_learned``.
DATA_MERGES: dict[str, type[DataMerge]] = {
    "fisher": Fisher,
    "regmean": RegMean,
    "regmean_plus": RegMeanPlus,
    "adamerging": AdaMerging,
    "concrete": Concrete,
}

__all__ = [
    "DATA_MERGES",
    "MERGES",
    "AdaMerging",
    "ArceeFusion",
    "Breadcrumbs",
    "BreadcrumbsTies",
    "Concrete",
    "Consensus",
    "Correction",
    "DareLinear",
    "DareTies",
    "DataMerge",
    "Della",
    "DellaLinear",
    "Emr",
    "Fisher",
    "IsoC",
    "IsoCts",
    "Karcher",
    "Knots",
    "Learned",
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
    "RegMean",
    "RegMeanPlus",
    "Sce",
    "Slerp",
    "Surgery",
    "TaskArithmetic",
    "TaskData",
    "Ties",
    "TsvM",
    "Wudi",
    "WudiExact",
    "make",
    "make_learned",
    "outputs_of",
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
    return _build(MERGES, method, parameters)


def make_learned(method: str, **parameters: Any) -> DataMerge:
    """Build a merge that learns from data, as ``make`` does the others.

    Args:
      method:     a key of DATA_MERGES.
      parameters: hyper-parameters of that method; absent ones take its defaults.
    Raises:  BadMergeParameter.

    Example:
      >>> make_learned("regmean", off_diagonal=0.1).off_diagonal
      0.1
    """
    return _build(DATA_MERGES, method, parameters)


def _build(registry: Mapping[str, type[_M]], method: str, parameters: Mapping[str, Any]) -> _M:
    if method not in registry:
        raise BadMergeParameter(
            f"unknown merge method{_nearest(method, registry)}", where=method, remedy=_list(registry)
        )
    fields = {field.name: field for field in dataclasses.fields(registry[method])}
    for name in parameters:
        if name not in fields:
            raise BadMergeParameter(
                f"has no parameter {name!r}{_nearest(name, fields)}", where=method, remedy=_list(fields)
            )
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in parameters:
            raise BadMergeParameter(f"needs the parameter {name!r}", where=method, remedy=f"give {name}")
    return registry[method](**parameters)


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _list(known: Any) -> str:
    return "choose from " + ", ".join(known)
