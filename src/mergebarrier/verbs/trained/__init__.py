"""``protect`` by training: the owner's models and data in, a published expert with its figures out."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.verbs.trained.data import OwnersData
    from mergebarrier.verbs.trained.train import TrainingRequest, plan_training, train_protection

__all__ = ["OwnersData", "TrainingRequest", "plan_training", "train_protection"]

lazy.open_door(__name__)
