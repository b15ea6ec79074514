"""Training that protects: a model at many weights, the owner's loss within a budget, all else as arguments.

The method is a function (state, batch, generator) -> named loss terms; ``protect/trained`` holds the methods, and says
how one is added.
"""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.training.protective.budget import OwnersBudget, Standing
    from mergebarrier.training.protective.edits import Dropped, Edit, LargestKept, RankCut
    from mergebarrier.training.protective.learners import ChosenRows, Learner, PictureLearner, StepRows, TextLearner
    from mergebarrier.training.protective.loop import (
        LoopFile,
        Objective,
        ProtectiveOutcome,
        ProtectiveRecipe,
        train_protective,
    )
    from mergebarrier.training.protective.noise import GaussianNoise, LowRankNoise, Noise, RoundedWeights
    from mergebarrier.training.protective.points import NOMINAL, Coefficient, Point
    from mergebarrier.training.protective.samplers import (
        EditedMerge,
        MergeSimulation,
        Mixture,
        ScaleOnly,
        Segment,
        uniform_between,
    )
    from mergebarrier.training.protective.state import Distances, ProtectiveState, clamped
    from mergebarrier.training.protective.vectors import FullVector, LowRankVector, TrainedVector

__all__ = [
    "NOMINAL",
    "ChosenRows",
    "Coefficient",
    "Distances",
    "Dropped",
    "Edit",
    "EditedMerge",
    "FullVector",
    "GaussianNoise",
    "LargestKept",
    "Learner",
    "LoopFile",
    "LowRankNoise",
    "LowRankVector",
    "MergeSimulation",
    "Mixture",
    "Noise",
    "Objective",
    "OwnersBudget",
    "PictureLearner",
    "Point",
    "ProtectiveOutcome",
    "ProtectiveRecipe",
    "ProtectiveState",
    "RankCut",
    "RoundedWeights",
    "ScaleOnly",
    "Segment",
    "Standing",
    "StepRows",
    "TextLearner",
    "TrainedVector",
    "clamped",
    "train_protective",
    "uniform_between",
]

lazy.open_door(__name__)
