"""From a model folder to an encoder of images, and back: pictures in [0, 1] go in, features come out.

Size, mean and deviation of the family are inside the module, because a trigger that is stamped before them is another
trigger; the weights keep the names of their file, so any merge of folders is a merge of encoders.

    f(x) = body((resize(x) - mean) / deviation),   not normalised

Source: the image processors of transformers, read from ``preprocessor_config.json``.  Differs: pictures are resized to
the final size at once, without a crop; a folder that does not say mean, deviation and size is refused.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.checkpoint import Checkpoint, Writer, layout_like
from mergebarrier.errors import (
    BadConfig,
    BadTask,
    ConfigMismatch,
    MissingTensor,
    UnknownFamily,
    UnsupportedFeature,
    clean,
)
from mergebarrier.evaluate.base import fill_stock, stock_library
from mergebarrier.evaluate.images import glyph_cnn

PROCESSOR = "preprocessor_config.json"
MAX_SIDE = 1024
MAX_SIZE = 2**20
#: What a configuration of a stock vision model may say; everything else stays behind.
_STOCK_KEYS = (
    "hidden_act", "hidden_size", "image_size", "intermediate_size", "layer_norm_eps", "layerscale_value", "mlp_ratio",
    "num_attention_heads", "num_channels", "num_hidden_layers", "patch_size", "projection_dim", "qkv_bias",
    "use_mask_token", "use_swiglu_ffn",
)  # fmt: skip


@dataclass(frozen=True)
class Preparation:
    """What happens to pixels in [0, 1]: the side that the body reads, and mean and deviation per channel."""

    side: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Encoder(nn.Module):
    """A body with its preparation; ``body`` holds the parameters under the names of the file."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, body: nn.Module, feature: Callable[[Any], Tensor], preparation: Preparation) -> None:
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


def load_encoder(checkpoint: Checkpoint) -> Encoder:
    """Build the encoder of a model folder and fill it.

    Args:
      checkpoint: an opened folder whose ``model_type`` is one of ``ENCODERS``.
    Returns: Encoder in float32, in evaluation mode, on the CPU; the caller decides about threads and gradients.
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
    preparation = _preparation(checkpoint)
    body, feature = ENCODERS[kind](checkpoint, preparation.side)
    return Encoder(body, feature, preparation).eval()


def encoder_tensors(encoder: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of an encoder under the names that they have in its folder, detached, in float32."""
    body = encoder.get_submodule("body")
    return {name: parameter.detach() for name, parameter in body.named_parameters()}


def save_encoder(
    encoder: nn.Module,
    like: Checkpoint,
    out: Path,
    content: Mapping[str, Any],
    *,
    environment: Mapping[str, Any] | None = None,
    side_files: Mapping[str, bytes] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a folder like another one with the values of an encoder.

    Args:
      encoder:     from ``load_encoder(like)``, its parameters changed or not.
      like:        the folder whose names, dtypes, shapes and side files (but its card) are taken; tensors that the
                   encoder lacks, such as a text tower, are copied.
      out:         folder to be made.
      content:     what the manifest says about the origin: JSON data, the same for the same values.
      environment: versions and the like, for the part of the manifest that no digest covers.
      side_files:  more files to place beside the weights, a card among them.
      resume:      go on with an unfinished run of the same content.
      overwrite:   replace a folder that holds our manifest.
    Returns: out.
    Raises:  OutputExists, NonFinite, NoSpace.
    """
    values = encoder_tensors(encoder)
    writer = Writer.create(
        out, layout_like(like), plan=dict(content), inputs=(like.path,), resume=resume, overwrite=overwrite
    )
    with closing(writer):
        for name in like.tensors:
            if writer.done(name):
                continue
            stored = like.read(name)
            writer.put(name, values[name].to(stored.dtype) if name in values else stored)
            writer.finish(name, (name,))
        copied = {name: like.read_side_file(name) for name in like.side_files if name != "README.md"}
        writer.commit(content, environment or {}, {**copied, **(side_files or {})})
    return out


def _glyph_cnn(checkpoint: Checkpoint, side: int) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    config = checkpoint.config
    sizes = {
        key: _size(config.get(key), key, checkpoint)
        for key in ("num_channels", "image_size", "hidden_size", "projection_dim")
    }
    _require_side(sizes["image_size"], side, checkpoint)
    widths = config.get("widths")
    if not isinstance(widths, list) or not 1 <= len(widths) <= 8:
        raise _bad("widths is not a list of 1 to 8 sizes", checkpoint)
    channels = tuple(_size(width, "widths", checkpoint) for width in widths)
    if any(width % glyph_cnn.GROUPS for width in channels):
        raise _bad(f"widths {list(channels)} are not multiples of {glyph_cnn.GROUPS}", checkpoint)
    with torch.device("meta"):
        module = glyph_cnn.GlyphCnn(widths=channels, **sizes)
    weights = _weights(module, checkpoint)
    module.load_state_dict(weights, assign=True)
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    return module, _itself


def _dinov2(checkpoint: Checkpoint, side: int) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    del side  # its position embeddings are interpolated to any size
    library = stock_library()
    return stock_module(library.Dinov2Model, checkpoint.config, checkpoint), _pooled


def _clip(checkpoint: Checkpoint, side: int) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    vision = checkpoint.config.get("vision_config", {})
    if not isinstance(vision, dict):
        raise _bad("vision_config is not a table", checkpoint)
    width = checkpoint.config.get("projection_dim", vision.get("projection_dim", 512))
    return _clip_tower({**vision, "projection_dim": width}, checkpoint, side)


def _clip_vision(checkpoint: Checkpoint, side: int) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    return _clip_tower(checkpoint.config, checkpoint, side)


def _clip_tower(
    config: Mapping[str, Any], checkpoint: Checkpoint, side: int
) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    _require_side(config.get("image_size", 224), side, checkpoint)
    library = stock_library()
    return stock_module(library.CLIPVisionModelWithProjection, config, checkpoint), _projected


#: model_type -> how a folder becomes (body, feature of its output).
ENCODERS: Mapping[str, Callable[[Checkpoint, int], tuple[nn.Module, Callable[[Any], Tensor]]]] = {
    glyph_cnn.MODEL_TYPE: _glyph_cnn,
    "dinov2": _dinov2,
    "clip": _clip,
    "clip_vision_model": _clip_vision,
}


def _itself(output: Tensor) -> Tensor:
    return output


def _pooled(output: Any) -> Tensor:
    pooled: Tensor = output.pooler_output
    return pooled


def _projected(output: Any) -> Tensor:
    projected: Tensor = output.image_embeds
    return projected


def stock_module(
    stock: Any, config: Mapping[str, Any], checkpoint: Checkpoint, keys: Sequence[str] = _STOCK_KEYS
) -> nn.Module:
    """Build a stock class on the allowed keys of a configuration and fill it from a checkpoint."""
    allowed = {key: value for key, value in config.items() if key in keys}
    for key, value in allowed.items():
        if isinstance(value, int | float) and not abs(value) <= MAX_SIZE:
            raise _bad(f"{key} = {clean(value)} is not a size", checkpoint)
    layers = allowed.get("num_hidden_layers", 0)
    if not isinstance(layers, int) or layers > len(checkpoint.tensors):
        raise _bad(f"num_hidden_layers = {clean(layers)}, the weights are fewer", checkpoint)
    try:
        with torch.device("meta"):
            shapes = stock(stock.config_class(**allowed))
    except Exception as error:
        raise _bad(f"the stock class refuses it: {clean(error)}", checkpoint) from error
    return fill_stock(stock, allowed, _weights(shapes, checkpoint), torch.float32, checkpoint.path)


def _weights(shapes: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Read the parameters of a module that was built without memory; the shapes are compared before a byte is read."""
    for name, parameter in shapes.named_parameters():
        if name not in checkpoint.tensors:
            raise MissingTensor(
                "the encoder has this tensor, the weights do not",
                where=f"{checkpoint.path}: {clean(name)}",
                remedy="use the config.json that belongs to these weights",
            )
        stored = checkpoint.tensors[name].shape
        if stored != tuple(parameter.shape):
            raise ConfigMismatch(
                f"config.json gives shape {tuple(parameter.shape)}, the weights have {stored}",
                where=f"{checkpoint.path}: {clean(name)}",
                remedy="use the config.json that belongs to these weights",
            )
    weights = {name: checkpoint.read(name).to(torch.float32) for name, _ in shapes.named_parameters()}
    checkpoint.verify_unchanged()
    return weights


def _preparation(checkpoint: Checkpoint) -> Preparation:
    where = checkpoint.path / PROCESSOR
    if PROCESSOR not in checkpoint.side_files:
        raise UnsupportedFeature(
            "the folder does not say size, mean and deviation of its pictures",
            where=where,
            remedy="copy the file from the folder of the base",
        )
    try:
        said: Any = json.loads(checkpoint.read_side_file(PROCESSOR))
        crop = said.get("crop_size") if said.get("do_center_crop", True) else None
        side = _side(crop if crop is not None else said["size"])
        mean, deviation = (tuple(float(value) for value in said[key]) for key in ("image_mean", "image_std"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadConfig(
            "not a table with size, image_mean and image_std", where=where, remedy="copy the file from the base"
        ) from error
    sound = len(mean) == len(deviation) and len(mean) in (1, 3) and all(map(math.isfinite, (*mean, *deviation)))
    if not (sound and all(value > 0 for value in deviation) and 1 <= side <= MAX_SIDE):
        raise BadConfig(
            f"size {side}, mean {clean(list(mean))} or deviation {clean(list(deviation))} is out of range",
            where=where,
            remedy="copy the file from the folder of the base",
        )
    return Preparation(side, mean, deviation)


def _side(size: Any) -> int:
    if isinstance(size, dict):
        sides: Sequence[Any] = [size[key] for key in ("shortest_edge", "height", "width") if key in size]
        if not sides or any(side != sides[0] for side in sides):
            raise ValueError("not a square")
        size = sides[0]
    if type(size) is not int:
        raise ValueError("not a size")
    return size


def _require_side(wanted: Any, side: int, checkpoint: Checkpoint) -> None:
    if wanted != side:
        raise _bad(f"image_size is {clean(wanted)}, {PROCESSOR} prepares pictures of side {side}", checkpoint)


def _size(value: Any, key: str, checkpoint: Checkpoint) -> int:
    if type(value) is not int or not 1 <= value <= 4096:
        raise _bad(f"{key} = {clean(value)} is not a size from 1 to 4096", checkpoint)
    return value


def _bad(what: str, checkpoint: Checkpoint) -> BadConfig:
    return BadConfig(what, where=checkpoint.path / "config.json", remedy="repair config.json")
