"""One tensor of the output: what it is merged from, by which method, in which dtypes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mergebarrier.merge.method import Merge
from mergebarrier.merge.recipe.targets import Target


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the output.

    Attributes:
      target:    name, slice, depth and inputs; the base first where the method uses one.
      method:    with the parameters that hold here.
      effective: recipe name -> value, or one value per expert.
      dtype:     to compute from, as safetensors names it; None for the inputs' own.
      stored:    dtype on disk.
    """

    target: Target
    method: Merge
    effective: Mapping[str, Any]
    dtype: str | None
    stored: str
