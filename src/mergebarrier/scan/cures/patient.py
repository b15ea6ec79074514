"""The input of a cure, and the form of every cure: hyper-parameters and one function from a merge to better weights.

    cured = cure(patient);   patient = experts, base, how they were merged, and patches mined by search

A cure never sees the adversary's trigger, a label or a test image.  What a model says of an unstamped image replaces
for the label, and the patches are those that the scan's search finds.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from mergebarrier.numerics import draws
from mergebarrier.scan.base import MergeWeights, Patch, Pool, PoolExpert, Search, Weights
from mergebarrier.scan.checks import ExpertPatches, seek, seek_on

Train = Callable[[nn.Module, Callable[[int], Tensor]], object]


@dataclass(frozen=True)
class MergeToCure:
    """A merge to be cured.

    Args:
      pool:   the experts with their heads and images.
      merge:  (base, weights of the experts) -> merged weights.
      search: how hard patches are mined.
      train:  (module, loss of a step) -> None: the house's training loop, for cures that train.
      seed:   of every draw.
    """

    pool: Pool
    merge: MergeWeights
    search: Search = field(default_factory=Search)
    train: Train | None = None
    seed: int = 0

    @cached_property
    def merged(self) -> Weights:
        """Return the merge of all experts."""
        return self.merge(self.pool.base, [suspect.weights for suspect in self.pool.suspects])

    @cached_property
    def experts(self) -> tuple[ExpertPatches, ...]:
        """Return the search on every expert."""
        return tuple(seek(self.pool, suspect, self.search) for suspect in self.pool.suspects)

    def mined(self, weights: Weights) -> list[list[Patch]]:
        """Return patches per task that force a class with these weights, in the base too if need be."""
        search = replace(self.search, contrast=0.0)
        return [list(seek_on(self.pool, weights, suspect, search)) for suspect in self.pool.suspects]

    def batch(self, suspect: PoolExpert, label: str, step: int, size: int) -> Tensor:
        """Return a keyed batch of the task's images."""
        stream = ("scan", self.seed, f"{label}|{suspect.name}|{step}")
        return suspect.images[draws.below(stream, len(suspect.images), size, bits=63)]


@dataclass(frozen=True)
class Cure(ABC):
    """Base of all cures."""

    @abstractmethod
    def apply(self, patient: MergeToCure) -> Weights:
        """Return the cured weights; neither the experts nor the module are changed."""


def detached(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies without a graph."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy of the predictions, in nats."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1).mean()


def adam(variables: list[Tensor], learning_rate: float) -> torch.optim.Adam:
    """Return the optimiser of perturbations, masks and anti-vectors; experts are trained by the training room alone."""
    return torch.optim.Adam(variables, lr=learning_rate)


def module_of(patient: MergeToCure, weights: Weights) -> nn.Module:
    """Return a copy of the pool's module that holds these weights and can be trained."""
    module = copy.deepcopy(patient.pool.encoder)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(weights[name])
            parameter.requires_grad_(True)
    return module
