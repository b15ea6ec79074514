"""The network of an encoder of images: built as config.json says, shapes compared, and filled from the folder.

    ENCODERS[model_type](checkpoint, side) -> (body, how its output becomes a feature)

A stock class of transformers is built on the keys that we know; everything else that a configuration says stays behind.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.circuits import plan_of
from mergebarrier.errors import BadConfig, ConfigMismatch, MissingTensor, clean
from mergebarrier.evaluate.base import StockClass, fill_stock, parameter_names, stock_library
from mergebarrier.evaluate.images import glyph_cnn
from mergebarrier.evaluate.images.preparation import PROCESSOR
from mergebarrier.modeling_mergebarrier import PolynomialPlan, with_polynomials
from mergebarrier.published import PLAN

MAX_SIZE = 2**20
#: From what a network of some class returns to the feature.
Feature: TypeAlias = Callable[[Any], Tensor]
Body: TypeAlias = tuple[nn.Module, Feature]
#: What a configuration of a stock vision model may say; everything else stays behind.
_STOCK_KEYS = (
    "hidden_act", "hidden_size", "image_size", "intermediate_size", "layer_norm_eps", "layerscale_value", "mlp_ratio",
    "num_attention_heads", "num_channels", "num_hidden_layers", "patch_size", "projection_dim", "qkv_bias",
    "use_mask_token", "use_swiglu_ffn",
)  # fmt: skip


def _glyph_cnn(checkpoint: Checkpoint, side: int) -> Body:
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


def _dinov2(checkpoint: Checkpoint, side: int) -> Body:
    del side  # its position embeddings are interpolated to any size
    library = stock_library()
    return stock_module(library.Dinov2Model, checkpoint.config, checkpoint), _pooled


def _clip(checkpoint: Checkpoint, side: int) -> Body:
    vision = checkpoint.config.get("vision_config", {})
    if not isinstance(vision, dict):
        raise _bad("vision_config is not a table", checkpoint)
    width = checkpoint.config.get("projection_dim", vision.get("projection_dim", 512))
    return _clip_tower({**vision, "projection_dim": width}, checkpoint, side, "vision")


def _clip_vision(checkpoint: Checkpoint, side: int) -> Body:
    return _clip_tower(checkpoint.config, checkpoint, side)


def _clip_tower(config: Mapping[str, object], checkpoint: Checkpoint, side: int, tower: str = "") -> Body:
    _require_side(config.get("image_size", 224), side, checkpoint)
    library = stock_library()
    return stock_module(library.CLIPVisionModelWithProjection, config, checkpoint, tower=tower), _projected


#: model_type -> how a folder becomes (body, feature of its output).
ENCODERS: Mapping[str, Callable[[Checkpoint, int], Body]] = {
    glyph_cnn.MODEL_TYPE: _glyph_cnn,
    "dinov2": _dinov2,
    "clip": _clip,
    "clip_vision_model": _clip_vision,
}


class _Pooled(Protocol):
    pooler_output: Tensor


class _Projected(Protocol):
    image_embeds: Tensor


def _itself(output: Tensor) -> Tensor:
    return output


def _pooled(output: _Pooled) -> Tensor:
    return output.pooler_output


def _projected(output: _Projected) -> Tensor:
    return output.image_embeds


def stock_module(
    stock: StockClass,
    config: Mapping[str, object],
    checkpoint: Checkpoint,
    keys: Sequence[str] = _STOCK_KEYS,
    tower: str = "",
) -> nn.Module:
    """Build a stock class on the allowed keys of a configuration and fill it from a checkpoint.

    ``tower`` is the part of a model of two towers that the class is.  Where activations are polynomials their modules
    come from this package, as those of ``load_module`` do.
    """
    allowed = {key: value for key, value in config.items() if key in keys}
    plan = plan_of(checkpoint)
    if plan is not None:
        stock = cast("StockClass", with_polynomials(cast("type", stock)))
        allowed[PLAN] = _of_tower(plan, tower)
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


def _of_tower(plan: PolynomialPlan, tower: str) -> PolynomialPlan:
    """Return what a plan says of one tower, as the class of that tower alone needs it."""
    if not tower:
        return plan
    inside, table = f"{tower}_model.", f"{tower}_config."
    return {
        **plan,
        "stock": {place.removeprefix(table): word for place, word in plan["stock"].items() if place.startswith(table)},
        "blocks": {path: block for path, block in plan["blocks"].items() if path.startswith(inside)},
    }


def _weights(shapes: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Read the parameters of a module that was built without memory; the shapes are compared before a byte is read."""
    stored = {name: one for one, name in parameter_names(shapes, checkpoint.tensors).items()}
    for name, parameter in shapes.named_parameters():
        if name not in stored:
            raise MissingTensor(
                "the encoder has this tensor, the weights do not",
                where=f"{checkpoint.path}: {clean(name)}",
                remedy="use the config.json that belongs to these weights",
            )
        shape = checkpoint.tensors[stored[name]].shape
        if shape != tuple(parameter.shape):
            raise ConfigMismatch(
                f"config.json gives shape {tuple(parameter.shape)}, the weights have {shape}",
                where=f"{checkpoint.path}: {clean(name)}",
                remedy="use the config.json that belongs to these weights",
            )
    weights = {name: checkpoint.read(stored[name]).to(torch.float32) for name, _ in shapes.named_parameters()}
    checkpoint.verify_unchanged()
    return weights


def _require_side(wanted: object, side: int, checkpoint: Checkpoint) -> None:
    if wanted != side:
        raise _bad(f"image_size is {clean(wanted)}, {PROCESSOR} prepares pictures of side {side}", checkpoint)


def _size(value: object, key: str, checkpoint: Checkpoint) -> int:
    if type(value) is not int or not 1 <= value <= 4096:
        raise _bad(f"{key} = {clean(value)} is not a size from 1 to 4096", checkpoint)
    return value


def _bad(what: str, checkpoint: Checkpoint) -> BadConfig:
    return BadConfig(what, where=checkpoint.path / "config.json", remedy="repair config.json")
