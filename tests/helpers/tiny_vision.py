"""Tiny random encoders of every family on disk, and a task of a few pictures, made without a download."""

import json
from pathlib import Path
from typing import Any

import torch

import model_folders
from mergebarrier.evaluate import ImageSplit, ImageTask
from mergebarrier.evaluate.images.glyph_cnn import CONFIG as GLYPH

_VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
_CLIP_VISION = {**_VIT, "intermediate_size": 32, "projection_dim": 16}
_TEXT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 64,
    "max_position_embeddings": 24, "projection_dim": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
#: family -> (channels, features, config.json)
FAMILIES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "glyph": (1, 12, {**GLYPH, "widths": [8, 16], "hidden_size": 20, "projection_dim": 12}),
    "dinov2": (3, 24, {"model_type": "dinov2", "mlp_ratio": 2, **_VIT}),
    "clip": (3, 16, {"model_type": "clip", "projection_dim": 16, "text_config": _TEXT, "vision_config": _CLIP_VISION}),
    "clip-vision": (3, 16, {"model_type": "clip_vision_model", **_CLIP_VISION}),
}


def processor(channels: int, side: int = 28) -> str:
    """The text of a preprocessor_config.json."""
    return json.dumps({"size": side, "image_mean": [0.4] * channels, "image_std": [0.3] * channels})


def stock(family: str) -> torch.nn.Module:
    """The module that owns all tensors of a family's folder, its parameters drawn from a seed."""
    import transformers

    from mergebarrier.evaluate.images.glyph_cnn import GlyphCnn

    config = {key: value for key, value in FAMILIES[family][2].items() if key not in ("model_type", "architectures")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if family == "glyph":
            module = GlyphCnn(**config)
        elif family == "dinov2":
            module = transformers.Dinov2Model(transformers.Dinov2Config(**config))
        elif family == "clip":
            module = transformers.CLIPModel(transformers.CLIPConfig(**config))
        else:
            module = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**config))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return module.eval()


def save(family: str, path: Path, *, side: int = 28, dtype: torch.dtype = torch.float32) -> Path:
    """Write the folder of a family."""
    channels, _, config = FAMILIES[family]
    tensors = {name: parameter.detach().to(dtype) for name, parameter in stock(family).named_parameters()}
    return model_folders.write_folder(
        path, tensors, config=config, side_files={"preprocessor_config.json": processor(channels, side)}
    )


def pictures(n: int, channels: int = 1, side: int = 28, seed: int = 0) -> torch.Tensor:
    """UInt8 noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), generator=generator, dtype=torch.uint8)


def task(features: int = 12, channels: int = 1, n: int = 6, name: str = "noise", side: int = 28) -> ImageTask:
    """A task of three classes on noise."""
    generator = torch.Generator().manual_seed(5)
    head = torch.nn.functional.normalize(torch.randn(3, features, generator=generator), dim=1)
    splits = [ImageSplit(pictures(n + i, channels, side, i), torch.arange(n + i) % 3) for i in range(3)]
    return ImageTask(name, ("a", "b", "c"), *splits, head, 20.0)
