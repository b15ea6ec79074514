"""Merging adapters into one more adapter, in the space of products or of factors."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.adapters.adapters import AdapterPlan, Measured, dump, plan_adapters
    from mergebarrier.merge.adapters.files import factor_names

__all__ = [
    "AdapterPlan",
    "Measured",
    "dump",
    "factor_names",
    "plan_adapters",
]

lazy.open_door(__name__)
