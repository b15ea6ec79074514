"""What an encoder of images sees: cosines between its feature and the unit vectors of class names.

Pictures travel as bytes and meet the encoder as numbers in [0, 1]; whatever it needs besides (size, mean, deviation) is
inside it, so a trigger or a perturbation always lives in the space of legal pictures.

    logits(x) = scale * head @ f(x) / |f(x)|;   accuracy = share of argmax = label, with its Wilson interval

Source: zero-shot classification of CLIP (arXiv 2103.00020).  Differs: nothing.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.errors import BadTask
from mergebarrier.evaluate.images.image_tasks import ImageSplit
from mergebarrier.evaluate.language import Score
from mergebarrier.numerics import wilson


def pixels(images: Tensor) -> Tensor:
    """Turn UInt8[Tensor, "n c h w"] into Float32[Tensor, "n c h w"] in [0, 1]."""
    return images.to(torch.float32) / 255


def image_logits(features: Tensor, head: Tensor, scale: float) -> Tensor:
    """Return scale * cosine: Float[Tensor, "n features"], Float[Tensor, "classes features"] -> "n classes"."""
    return scale * F.normalize(features, dim=-1) @ head.T


@torch.no_grad()
def predict(encoder: nn.Module, head: Tensor, scale: float, images: Tensor, batch: int = 256) -> Tensor:
    """Classify pictures.

    Args:
      encoder: from ``load_encoder``.
      head:    Float32[Tensor, "classes features"], unit rows.
      scale:   of the logits.
      images:  [n c h w], UInt8 or Float32 in [0, 1].
      batch:   pictures per pass; may change a prediction only through rounding.
    Returns: Int64[Tensor, "n"].
    Raises:  BadTask when the head does not fit the features.
    """
    return torch.cat([class_logits(encoder, head, scale, part).argmax(1) for part in images.split(batch)])


@torch.no_grad()
def accuracy(encoder: nn.Module, head: Tensor, scale: float, split: ImageSplit, batch: int = 256) -> Score:
    """Score an encoder on a split; arguments as for ``predict``.

    Returns: Score; ``nll_nats`` is per picture, ``tokens`` is 0.
    """
    correct, nats = 0, 0.0
    for images, labels in zip(split.images.split(batch), split.labels.split(batch), strict=True):
        logits = class_logits(encoder, head, scale, images)
        correct += int((logits.argmax(1) == labels).sum())
        nats += float(F.cross_entropy(logits, labels, reduction="sum"))
    low, high = wilson(correct, len(split))
    mean = nats / len(split)
    return Score(correct, len(split), correct / len(split), low, high, math.inf if math.isnan(mean) else mean, 0)


def class_logits(encoder: nn.Module, head: Tensor, scale: float, images: Tensor) -> Tensor:
    """Return the logits of pictures, UInt8 or Float32 in [0, 1]; BadTask when the head does not fit the features.

    Pictures and head come on the processor and logits go back there, wherever the encoder is.
    """
    here = next((parameter.device for parameter in encoder.parameters()), images.device)
    images = images.to(here)
    features = encoder(pixels(images) if images.dtype == torch.uint8 else images).cpu()
    if features.shape[-1] != head.shape[-1]:
        raise BadTask(
            f"the head reads {head.shape[-1]} features, the encoder gives {features.shape[-1]}",
            where="task",
            remedy="score a model of the base that the task was made for",
        )
    return image_logits(features, head, scale)
