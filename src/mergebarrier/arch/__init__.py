"""Which tensor of a checkpoint has which axes: one declarative table per family, data without mathematics."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.arch.axes import (
        SPACES,
        Axis,
        Concat,
        Factor,
        Kind,
        Node,
        Nodes,
        evaluate,
        fold,
        leaves,
        size_of,
        unfold,
    )
    from mergebarrier.arch.circuits import CIRCUITS, Circuit, Instance, Member, instance, instances_of
    from mergebarrier.arch.describe import Architecture, describe, require_same
    from mergebarrier.arch.families import FAMILIES
    from mergebarrier.arch.family import Family, TensorLine
    from mergebarrier.arch.freedoms import Freedom, freedoms
    from mergebarrier.arch.names import finder, identities, spelled_like
    from mergebarrier.arch.shared import FitRules, ModelFit, fit, repeats

__all__ = [
    "CIRCUITS",
    "FAMILIES",
    "SPACES",
    "Architecture",
    "Axis",
    "Circuit",
    "Concat",
    "Factor",
    "Family",
    "FitRules",
    "Freedom",
    "Instance",
    "Kind",
    "Member",
    "ModelFit",
    "Node",
    "Nodes",
    "TensorLine",
    "describe",
    "evaluate",
    "finder",
    "fit",
    "fold",
    "freedoms",
    "identities",
    "instance",
    "instances_of",
    "leaves",
    "repeats",
    "require_same",
    "size_of",
    "spelled_like",
    "unfold",
]

lazy.open_door(__name__)
