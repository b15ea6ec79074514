"""The merges that backdoors are measured under, with the settings of the paper: one literal table.

    base + 0.3 sum tau     mean     TIES: keep 20 % of the flat vector, sign of the sum, disjoint sum, times 0.3
    DARE: drop 90 %, divide by 0.1, times 0.3        Breadcrumbs: drop the largest 1 %, keep the next 90 %, times 0.3
    RegMean: Gram matrices of 8 training batches of 128, off-diagonal times 0.1
    AdaMerging: a coefficient per tensor from 0.3, 500 steps of 16 dev pictures a task;   Surgery: rank 16 on top of it

A merge returns an encoder per task, because some methods correct features task by task.

Source: the settings of BadMerging, arXiv 2408.07362, where it gives one.  Differs: DARE and Breadcrumbs are added.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from mergebarrier.attack.encoders import Weights, merge_weights, with_weights
from mergebarrier.evaluate import ImageTask, image_logits, pixels
from mergebarrier.merge import Surgery, TaskData, make, make_learned, outputs_of

Encoders = Mapping[str, nn.Module]
_GRAM_BATCHES, _GRAM_ROWS, _DEV_ROWS = 8, 128, 16


@dataclass(frozen=True)
class Pool:
    """What is merged: a base, one expert per task, and the merger's own dev pictures.

    Args:
      base:    the pre-trained encoder.
      tasks:   by name.
      experts: their weights by task, the adversary's upload among them.
      seed:    of merges that draw.
      keep:    stores what took long to learn, by name; by default nothing is stored.
    """

    base: nn.Module
    tasks: Mapping[str, ImageTask]
    experts: Mapping[str, Weights]
    seed: int
    keep: Callable[[str, Callable[[], Weights]], Weights] = lambda name, learn: learn()


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


def regmean(pool: Pool) -> Encoders:
    """Merge by regression on the experts' own training pictures."""
    data = [
        TaskData(name, _parts(task.train.images[: _GRAM_BATCHES * _GRAM_ROWS], _GRAM_ROWS), _features)
        for name, task in pool.tasks.items()
    ]
    learned = make_learned("regmean", off_diagonal=0.1).merge(pool.base, None, list(pool.experts.values()), data)
    return dict.fromkeys(pool.tasks, with_weights(pool.base, learned.tensors))


def adamerging(pool: Pool) -> Encoders:
    """Merge with coefficients learned on the merger's dev pictures."""
    return dict.fromkeys(pool.tasks, with_weights(pool.base, _adamerged(pool)))


def surgery(pool: Pool) -> Encoders:
    """Correct the features of AdaMerging's result, task by task, on the dev pictures."""
    merged, corrected = _adamerged(pool), {}
    for name, task in pool.tasks.items():
        data = TaskData(name, _parts(task.dev.images, _GRAM_ROWS), _features)
        features = [outputs_of(pool.base, weights, data) for weights in (merged, pool.experts[name])]
        correction = Surgery(seed=pool.seed).fit(*features, task=name)
        corrected[name] = nn.Sequential(with_weights(pool.base, merged), correction)
    return corrected


def _adamerged(pool: Pool) -> Weights:
    def learn() -> Weights:
        data = [
            TaskData(name, _parts(task.dev.images, _DEV_ROWS), functools.partial(_logits, task))
            for name, task in pool.tasks.items()
        ]
        base = {name: parameter.detach() for name, parameter in pool.base.named_parameters()}
        return make_learned("adamerging").merge(pool.base, base, list(pool.experts.values()), data).tensors

    return pool.keep("adamerging", learn)


def _parts(images: Tensor, size: int) -> list[Tensor]:
    return list(pixels(images).split(size))


def _features(encoder: nn.Module, images: Tensor) -> Tensor:
    features: Tensor = encoder(images)
    return features


def _logits(task: ImageTask, encoder: nn.Module, images: Tensor) -> Tensor:
    return image_logits(encoder(images), task.head, task.scale)


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
    "regmean": MergeUnderAttack("RegMean", "8 training batches of 128, off-diagonal 0.1", regmean),
    "adamerging": MergeUnderAttack("AdaMerging", "per tensor, 500 steps of 16 dev pictures a task", adamerging),
    "surgery": MergeUnderAttack("Surgery", "rank 16, on top of AdaMerging", surgery),
}
