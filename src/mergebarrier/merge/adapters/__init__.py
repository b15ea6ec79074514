"""Merging adapters into one more adapter, in the space of products or of factors."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.adapters.adapters import AdapterPlan, Measured, dump, plan_adapters
    from mergebarrier.merge.adapters.files import factor_names
    from mergebarrier.merge.adapters.options import OUTPUT_KEYS, AdapterOutput, output_of

__all__ = [
    "OUTPUT_KEYS",
    "AdapterOutput",
    "AdapterPlan",
    "Measured",
    "dump",
    "factor_names",
    "output_of",
    "plan_adapters",
]

lazy.open_door(__name__)
