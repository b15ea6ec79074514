"""The merges that backdoors are measured under, with the settings of the paper: one literal table.

    base + 0.3 sum tau     mean     TIES: keep 20 % of the flat vector, sign of the sum, disjoint sum, times 0.3
    DARE: drop 90 %, divide by 0.1, times 0.3        Breadcrumbs: drop the largest 1 %, keep the next 90 %, times 0.3

A merge returns an encoder per task, because some methods correct features task by task.

Source: the settings of BadMerging, arXiv 2408.07362, where it gives one.  Differs: DARE and Breadcrumbs are added.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import nn

from mergebarrier.audit.backdoors import Weights, merge_weights, with_weights
from mergebarrier.evaluate import ImageTask
from mergebarrier.merge import make

Encoders = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Pool:
    """What is merged: a base, one expert per task, and the merger's own dev pictures.

    Args:
      base:    the pre-trained encoder.
      tasks:   by name.
      experts: their weights by task, the adversary's upload among them.
      seed:    of merges that draw.
    """

    base: nn.Module
    tasks: Mapping[str, ImageTask]
    experts: Mapping[str, Weights]
    seed: int


@dataclass(frozen=True)
class MergeUnderAttack:
    """A merge with its setting.

    Args:
      title: for people.
      says:  its hyper-parameters.
      run:   pool -> encoder of every task.
    """

    title: str
    says: str
    run: Callable[[Pool], Encoders]


def task_arithmetic(pool: Pool, coefficient: float) -> Encoders:
    """Merge by task arithmetic at any coefficient."""
    return _everywhere(pool, "task_arithmetic", coefficient=coefficient)


def _everywhere(
    pool: Pool, method: str, *, whole: bool = False, seeded: bool = False, **parameters: object
) -> Encoders:
    """Run a method of the engine; one encoder serves every task."""
    if seeded:
        parameters["seed"] = pool.seed
    base = {name: parameter.detach() for name, parameter in pool.base.named_parameters()}
    merged = merge_weights(make(method, **parameters), base, list(pool.experts.values()), whole=whole)
    encoder = with_weights(pool.base, merged)
    return dict.fromkeys(pool.tasks, encoder)


def _engine(
    method: str, *, whole: bool = False, seeded: bool = False, **parameters: object
) -> Callable[[Pool], Encoders]:
    return lambda pool: _everywhere(pool, method, whole=whole, seeded=seeded, **parameters)


MERGES_UNDER_ATTACK: Final[dict[str, MergeUnderAttack]] = {
    "weight_average": MergeUnderAttack("weight average", "coefficient 1/N", _engine("linear")),
    "task_arithmetic": MergeUnderAttack(
        "task arithmetic", "coefficient 0.3", _engine("task_arithmetic", coefficient=0.3)
    ),
    "ties": MergeUnderAttack(
        "TIES",
        "keep 20 % of the flat vector, disjoint sum, coefficient 0.3",
        _engine(
            "ties", whole=True, density=0.2, reduce="sum", elect="unweighted", elect_zero="majority", coefficient=0.3
        ),
    ),
    "dare": MergeUnderAttack(
        "DARE",
        "drop 90 %, coefficient 0.3",
        _engine("dare_linear", seeded=True, density=0.1, rescale="inverse", coefficient=0.3),
    ),
    "breadcrumbs": MergeUnderAttack(
        "Breadcrumbs",
        "outliers 1 %, keep 90 %, coefficient 0.3",
        _engine("breadcrumbs", density=0.9, gamma=0.01, coefficient=0.3),
    ),
}
