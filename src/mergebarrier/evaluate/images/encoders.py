"""From a model folder to an encoder of images, and back: pictures in [0, 1] go in, features come out.

Size, mean and deviation of the family are inside the module, because a trigger that is stamped before them is another
trigger; what is saved has the names of the folder that it is like, so any merge of folders is a merge of encoders.

    f(x) = body((resize(x) - mean) / deviation),   not normalised
"""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import BadTask, UnknownFamily, clean
from mergebarrier.evaluate.base import parameter_names, save_weights
from mergebarrier.evaluate.images.bodies import ENCODERS, Feature
from mergebarrier.evaluate.images.image_folders import read_image_folder
from mergebarrier.evaluate.images.image_scores import pixels
from mergebarrier.evaluate.images.image_tasks import read_image_task
from mergebarrier.evaluate.images.preparation import Preparation, read_preparation
from mergebarrier.numerics import draws


class Encoder(nn.Module):
    """A body with its preparation; ``body`` holds the parameters."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, body: nn.Module, feature: Feature, preparation: Preparation) -> None:
        """Take a body and how its output becomes a feature."""
        super().__init__()
        self.body, self._feature, self.side = body, feature, preparation.side
        self.register_buffer("mean", torch.tensor(preparation.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(preparation.deviation).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features.

        Args:
          pixels: Float32[Tensor, "n c h w"] in [0, 1]; grey pictures serve a body that reads colours.
        Returns: Float32[Tensor, "n features"], not normalised.
        Raises:  BadTask for colours that a grey body cannot read.
        """
        return self._feature(self.body(self.prepare(pixels)))

    def prepare(self, pixels: Tensor) -> Tensor:
        """Return what the body reads: resized, mean taken off, divided by the deviation."""
        channels = self.mean.shape[1]
        if pixels.shape[1] not in (1, channels):
            raise BadTask(
                f"pictures of {pixels.shape[1]} channels, the encoder reads {channels}",
                where="task",
                remedy="score a model that the task was made for",
            )
        if pixels.shape[2:] != (self.side, self.side):
            pixels = F.interpolate(
                pixels, (self.side, self.side), mode="bilinear", antialias=min(pixels.shape[2:]) > self.side
            )
        return (pixels - self.mean) / self.deviation


def load_encoder(checkpoint: Checkpoint, device: str = "cpu") -> Encoder:
    """Build the encoder of a model folder and fill it.

    Args:
      checkpoint: an opened folder whose ``model_type`` is one of ``ENCODERS``.
      device:     as ``device_named`` returns it.
    Returns: Encoder in float32, in evaluation mode, on that device; the caller decides about threads and gradients.
    Raises:  UnknownFamily, UnsupportedFeature (no preprocessor_config.json), BadConfig, MissingTensor, ConfigMismatch,
             NonFinite, MissingExtra without transformers.
    Numerics: deterministic; uses no random numbers.
    """
    kind = checkpoint.config.get("model_type")
    if not isinstance(kind, str) or kind not in ENCODERS:
        raise UnknownFamily(
            f"{clean(kind)!r} is not a supported image encoder",
            where=checkpoint.path / "config.json",
            remedy=f"known are {', '.join(ENCODERS)}",
        )
    preparation = read_preparation(checkpoint)
    body, feature = ENCODERS[kind](checkpoint, preparation.side)
    return Encoder(body, feature, preparation).eval().to(device)


def prepared_pictures(checkpoint: Checkpoint, images: Tensor, most: int) -> Tensor:
    """Return pictures as the model of a folder reads them, in an order that mixes what lies together.

    Args:
      checkpoint: an opened folder that says how pictures are prepared.
      images:     UInt8[Tensor, "n c h w"]; ``most`` of them are prepared.
      most:       at most so many.
    Returns: Float32[Tensor, "m c side side"].
    Raises:  UnsupportedFeature, BadConfig, BadTask.
    """
    chosen = images[draws.order(("pictures", "order"), len(images))[:most]]
    return Encoder(nn.Identity(), nn.Identity(), read_preparation(checkpoint)).prepare(pixels(chosen))


def training_pictures(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> Tensor:
    """Return what a task file, or a folder of classes, has for training, UInt8[Tensor, "n c h w"].

    Args:
      checkpoint: an opened folder, which says of what side a picture is that a folder holds.
      path:       of either.
    Raises: BadTask, UnsupportedFeature, BadConfig, MissingExtra without Pillow.
    """
    if Path(path).is_dir():
        return read_image_folder(path, read_preparation(checkpoint).side)[1][0].images
    return read_image_task(path).train.images


def encoder_tensors(encoder: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of an encoder under the names of its module, detached, in float32."""
    body = encoder.get_submodule("body")
    return {name: parameter.detach() for name, parameter in body.named_parameters()}


def save_encoder(
    encoder: nn.Module,
    like: Checkpoint,
    out: Path,
    content: Mapping[str, object],
    *,
    environment: Mapping[str, object] | None = None,
    side_files: Mapping[str, bytes] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    shard_bytes: int | None = None,
) -> Path:
    """Write a folder like another one with the values of an encoder.

    Args:
      encoder:     from ``load_encoder(like)``, its parameters changed or not.
      like:        the folder whose names, dtypes, shapes and side files (but its card) are taken; tensors that the
                   encoder lacks, such as a text tower, are copied.
      out:         folder to be made.
      content:     what the manifest says about the origin: JSON data, the same for the same values.
      environment: versions and the like, for the part of the manifest that no digest covers.
      side_files:  more files of the folder, a card among them.
      resume:      go on with an unfinished run of the same content.
      overwrite:   replace a folder that holds our manifest.
      shard_bytes: fill files of weights to this size; None for those of ``like``.
    Returns: out.
    Raises:  OutputExists, NonFinite, NoSpace.
    """
    values, body = encoder_tensors(encoder), encoder.get_submodule("body")
    return save_weights(
        {stored: values[name] for stored, name in parameter_names(body, like.tensors).items()},
        like,
        out,
        content,
        environment=environment,
        side_files=side_files,
        resume=resume,
        overwrite=overwrite,
        shard_bytes=shard_bytes,
    )
