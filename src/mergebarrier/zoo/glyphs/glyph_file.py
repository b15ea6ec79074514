"""The committed base of the small bench as a file: its digest, its tensors, and the model folder that is made from it.

It is one safetensors file in bfloat16 inside the package, written by ``benchmarks/make_glyph_base.py``; the folder is
in float32, so that fine-tunes lose nothing to rounding.

    glyph_base.safetensors = encoder tensors + names.weight [138, 64], unit rows

Source: ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from mergebarrier.checkpoint import OutTensor, read_tensor_file, write_tensor_file
from mergebarrier.evaluate.images import CONFIG
from mergebarrier.zoo.base import json_bytes, write_model
from mergebarrier.zoo.glyphs.glyphs import NAMES
from mergebarrier.zoo.glyphs.image_catalogue import GLYPH_FILE

NAMES_FILE = "names.safetensors"
BANK = "names.weight"
SCALE = 20.0
#: No mean and no deviation: pictures go in as they are.
PROCESSOR = {"size": {"height": 28, "width": 28}, "image_mean": [0.0], "image_std": [1.0], "do_resize": True}


@dataclass(frozen=True)
class GlyphBase:
    """The encoder's tensors by name, and the bank: Float32[Tensor, "138 64"], unit rows in the order of ``NAMES``."""

    tensors: Mapping[str, Tensor]
    bank: Tensor


def load() -> GlyphBase:
    """Read the committed base; in float32."""
    with as_file(files("mergebarrier.zoo").joinpath("data", GLYPH_FILE)) as path:
        tensors, _ = read_tensor_file(path)
    wide = {name: tensor.float() for name, tensor in tensors.items()}
    return GlyphBase({name: wide[name] for name in wide if name != BANK}, F.normalize(wide[BANK], dim=1))


def build(out: Path, content: Mapping[str, object]) -> None:
    """Write the base as a model folder in float32, so that fine-tunes lose nothing to rounding."""
    tensors = load().tensors
    layout = [OutTensor(name, "F32", tuple(t.shape), "model.safetensors") for name, t in tensors.items()]
    side_files = {"config.json": json_bytes(dict(CONFIG)), "preprocessor_config.json": json_bytes(PROCESSOR)}
    write_model(out, layout, tensors.items(), side_files, content)


def write_names(out: Path) -> None:
    """Write every class name with its vector, for heads of classes that belong to no task."""
    out.mkdir()
    write_tensor_file(out / NAMES_FILE, {"vectors": load().bank}, {"names": list(NAMES), "scale": SCALE})


def head(names: tuple[str, ...]) -> Tensor:
    """Return the vectors of some class names: Float32[Tensor, "names 64"]."""
    return load().bank[[NAMES.index(name) for name in names]]
