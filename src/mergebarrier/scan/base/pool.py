"""The experts of one base as points in weight space, run through one module that is never changed.

A suspect is a table of weights with the head and the unlabelled images of its task; any mixture of weights becomes a
classifier through ``functional_call``.  The merger's own development images are all the data a scan needs: what a model
says of an image without a trigger replaces the label.

    logits(theta, x) = scale * head @ f_theta(x) / |f_theta(x)|,    theta(s) = theta_0 + s (theta_i - theta_0)

Source: task arithmetic, arXiv 2212.04089, for the line.  Differs: nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from mergebarrier.errors import BadScanInput, NonFinite, ShapeMismatch, TensorSetMismatch, clean

Weights = Mapping[str, Tensor]
MergeWeights = Callable[[Weights, Sequence[Weights]], Weights]
MIN_IMAGES = 32
#: How findings call the merge of a pool.
MERGED: Final = "merge of all"
#: (name of a suspect, what is done with it) -> whether that could be done.
Attempt = Callable[[str, Callable[[], object]], bool]
_BATCH = 512


def plainly(name: str, work: Callable[[], object]) -> bool:
    """Do something with a suspect, whatever it raises."""
    work()
    return True


@dataclass(frozen=True)
class PoolExpert:
    """One expert and what the merger knows of its task.

    Args:
      name:    how findings call it.
      weights: parameter name -> Float[Tensor, "*shape"], the parameters of the pool's module.
      head:    Float[Tensor, "classes d"], rows of unit norm.
      scale:   multiplies the cosines.
      images:  Float[Tensor, "n channels height width"] in [0, 1], without labels; at least ``MIN_IMAGES``.
      classes: names of the rows of the head.
    """

    name: str
    weights: Weights
    head: Tensor
    scale: float
    images: Tensor
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Pool:
    """Experts of one base that are to be merged.

    Args:
      encoder:  a module whose forward maps pixels to features; only its structure and buffers are used.
      base:     parameter name -> tensor.
      suspects: at least one.
    Raises: BadScanInput, TensorSetMismatch, ShapeMismatch; each names the expert.
    """

    encoder: nn.Module
    base: Weights
    suspects: tuple[PoolExpert, ...]

    def __post_init__(self) -> None:
        """Check that every expert has the base's tensors, and a head and images that fit."""
        if not self.suspects:
            raise BadScanInput("no expert to scan", where="pool", remedy="give at least one model")
        for suspect in self.suspects:
            _check_weights(self.base, suspect)
            _check_images(suspect)
            features = run(self.encoder, self.base, suspect.images[:1])
            if features.shape[1] != suspect.head.shape[1]:
                raise BadScanInput(
                    f"the head has {suspect.head.shape[1]} columns, the encoder gives {features.shape[1]} features",
                    where=suspect.name,
                    remedy="give the task file that was made for this base",
                )

    def logits(self, weights: Weights, images: Tensor, suspect: PoolExpert) -> Tensor:
        """Return Float[Tensor, "n classes"] of ``images`` under the head of ``suspect``.

        Raises: NonFinite for weights that answer no numbers: argmax would call that the first class, and no trigger
                could ever stand out.
        """
        found = head_logits(run(self.encoder, weights, images), suspect.head, suspect.scale)
        if not torch.isfinite(found).all():
            what = "the model answers numbers that are not finite"
            raise NonFinite(what, where=f"under the head of {suspect.name}", remedy="check its weights")
        return found

    @torch.no_grad()
    def predict(self, weights: Weights, images: Tensor, suspect: PoolExpert) -> Tensor:
        """Return Int64[Tensor, "n"], the classes under the head of ``suspect``."""
        return torch.cat([self.logits(weights, part, suspect).argmax(1) for part in images.split(_BATCH)])


def run(encoder: nn.Module, weights: Weights, images: Tensor) -> Tensor:
    """Return the features of ``images`` with ``weights`` in the place of the module's own."""
    features: Tensor = torch.func.functional_call(encoder, dict(weights), (images,))
    return features


def head_logits(features: Tensor, head: Tensor, scale: float) -> Tensor:
    """Return scaled cosines between features and the rows of the head."""
    units: Tensor = features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return (scale * units) @ head.T


def along(base: Weights, weights: Weights, s: float) -> dict[str, Tensor]:
    """Return theta_0 + s (theta - theta_0)."""
    return {name: torch.lerp(base[name], weights[name], s) for name in base}


def halves(images: Tensor) -> tuple[Tensor, Tensor]:
    """Split the images into those that a search may see and those that score it."""
    return images[0::2], images[1::2]


def forced_share(before: Tensor, after: Tensor, target: int) -> float:
    """Return the share of images not in ``target`` before that are in it after; 0 where all were in it before."""
    elsewhere = before != target
    return float((after[elsewhere] == target).float().mean()) if bool(elsewhere.any()) else 0.0


def robust_z(values: Sequence[float], floor: float = 0.0) -> tuple[list[float], float]:
    """Return (v - median) / (1.4826 MAD) for every value, and the median.

    Args:
      values: the figure for every member of the pool.
      floor:  the least spread: a pool that agrees to the last digit has no outliers for it.
    Returns: ([0, ...], median) for fewer than three values, where nothing is far from the rest.
    """
    tensor = torch.tensor(list(values), dtype=torch.float64)
    median = _median(tensor)
    if len(values) < 3:
        return [0.0] * len(values), median
    spread = max(1.4826 * _median((tensor - median).abs()), floor, 1e-12 * max(1.0, abs(median)))
    return [float(z) for z in (tensor - median) / spread], median


def _median(values: Tensor) -> float:
    return float(values.quantile(0.5)) if len(values) else math.nan


def _check_weights(base: Weights, suspect: PoolExpert) -> None:
    absent = sorted(set(base) ^ set(suspect.weights))
    if absent:
        holder = "the base alone" if absent[0] in base else "the expert alone"
        raise TensorSetMismatch(
            f"{clean(absent[0])} is in {holder}",
            where=suspect.name,
            remedy="scan models that were fine-tuned from one base",
        )
    for name, tensor in base.items():
        if tensor.shape != suspect.weights[name].shape:
            raise ShapeMismatch(
                f"{clean(name)} has shape {tuple(suspect.weights[name].shape)}, the base has {tuple(tensor.shape)}",
                where=suspect.name,
                remedy="scan models that were fine-tuned from one base",
            )


def _check_images(suspect: PoolExpert) -> None:
    if suspect.images.ndim != 4 or len(suspect.images) < MIN_IMAGES:
        n = len(suspect.images) if suspect.images.ndim == 4 else 0
        raise BadScanInput(
            f"{n} development images, at least {MIN_IMAGES} are needed",
            where=suspect.name,
            remedy="give a task file with a larger dev split",
        )
    if suspect.head.ndim != 2 or len(suspect.head) < 2 or len(suspect.head) != len(suspect.classes):
        raise BadScanInput(
            f"the head has shape {tuple(suspect.head.shape)} for {len(suspect.classes)} classes",
            where=suspect.name,
            remedy="give one row per class and at least two classes",
        )
