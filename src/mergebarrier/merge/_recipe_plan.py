"""A recipe laid over opened models: for every tensor of the output its sources, its method and its dtypes.

    merged = round_out(method(cast(base), cast(expert_1), ..))     cast to ``dtype``, round to ``out_dtype``

All of it is settled before any arithmetic, so that ``--explain`` shows what a run does. Source: mergekit 0.1.5, whose
depth for gradients is that of the slice, 0 outside of the layers. Differs: without a base the donor of configuration
and files is the first model of the file, not a member of a set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge._merge import Merge
from mergebarrier.merge._plan import MergeUnit, differing_notes, is_float, units_of
from mergebarrier.merge._recipe_layers import with_dtype, with_layers
from mergebarrier.merge._recipe_parameters import Given, Resolver
from mergebarrier.merge._recipe_schema import DTYPES, Recipe, Reference
from mergebarrier.merge._recipe_targets import Target, targets
from mergebarrier.merge._recipe_view import View

if TYPE_CHECKING:
    import torch

    from mergebarrier.checkpoint import Checkpoint, OutTensor
