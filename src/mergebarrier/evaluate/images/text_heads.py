"""Zero-shot heads: a CLIP model's own text tower turns class names into the rows of a head for its vision tower.

    row(c) = normalised mean over templates of normalised text(template(c));    scale = exp(logit_scale)

Source: the prompt ensembles of CLIP (arXiv 2103.00020).  Differs: nothing; the tower is the stock class, its tokenizer
plain data.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.checkpoint import Checkpoint, read_tensor_file
from mergebarrier.errors import BadConfig, BadTask, CheckpointError, UnknownFamily, clean
from mergebarrier.evaluate.base import load_tokenizer, stock_library
from mergebarrier.evaluate.images.bodies import stock_module

TEMPLATES = ("a photo of a {}.",)
_KEYS = (
    "bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps",
    "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "pad_token_id", "projection_dim",
    "vocab_size",
)  # fmt: skip


@torch.no_grad()
def text_head(
    checkpoint: Checkpoint, classes: Sequence[str], templates: Sequence[str] = TEMPLATES
) -> tuple[Tensor, float]:
    """Build a head.

    Args:
      checkpoint: an opened CLIP folder with both towers and ``tokenizer.json``.
      classes:    names, at least one.
      templates:  each holds ``{}`` once, for the name.
    Returns: (Float32[Tensor, "classes features"] of unit rows, scale of the logits).
    Raises:  UnknownFamily for another model, BadTask for a template or a text that is too long, BadConfig,
             MissingTensor, ConfigMismatch, UnsupportedFeature without a tokenizer, MissingExtra.
    """
    where = checkpoint.path / "config.json"
    if checkpoint.config.get("model_type") != "clip" or "text_projection.weight" not in checkpoint.tensors:
        raise UnknownFamily(
            "not a CLIP model with a text tower", where=where, remedy="give the folder of a whole CLIP model"
        )
    for template in templates:
        if template.count("{}") != 1:
            raise BadTask("a template needs exactly one {}", where=clean(template), remedy="write: a photo of a {}.")
    text = checkpoint.config.get("text_config", {})
    if not isinstance(text, dict):
        raise BadConfig("text_config is not a table", where=where, remedy="repair config.json")
    width = checkpoint.config.get("projection_dim", text.get("projection_dim", 512))
    tokenizer = load_tokenizer(checkpoint)
    tower: Any = stock_module(
        stock_library().CLIPTextModelWithProjection, {**text, "projection_dim": width}, checkpoint, _KEYS, "text"
    )
    rows = []
    for name in classes:
        embedded = []
        for template in templates:
            ids = tokenizer.encode(template.format(name)).ids
            if not 0 < len(ids) <= tower.config.max_position_embeddings:
                raise BadTask(f"{len(ids)} tokens, the tower reads {tower.config.max_position_embeddings}",
                              where=clean(name), remedy="shorten the name")  # fmt: skip
            if max(ids) >= tower.config.vocab_size:
                raise BadTask(
                    "the tokenizer belongs to another model", where=clean(name), remedy="use the one of this model"
                )
            embedded.append(F.normalize(tower(input_ids=torch.tensor([ids])).text_embeds[0], dim=0))
        rows.append(F.normalize(torch.stack(embedded).mean(0), dim=0))
    scale = math.exp(float(checkpoint.read("logit_scale"))) if "logit_scale" in checkpoint.tensors else 100.0
    if not math.isfinite(scale):
        raise BadConfig("logit_scale is out of range", where=checkpoint.path, remedy="download the weights again")
    return torch.stack(rows), scale


def names_head(path: Path, classes: Sequence[str]) -> tuple[Tensor, float]:
    """Take a head out of a file of class-name vectors, as the zoo's benches have one.

    Args:
      path:    safetensors with "vectors", Float32[Tensor, "names features"], and metadata {"names", "scale"}.
      classes: some of its names.
    Returns: as ``text_head``.
    Raises:  BadTask for a file of another kind or a name that it lacks.
    """
    remedy = "give names.safetensors of a bench, and folders named as it names classes"
    try:
        tensors, about = read_tensor_file(path)
        names, scale, vectors = list(about["names"]), float(about["scale"]), tensors["vectors"]
        absent = next((name for name in classes if name not in names), None)
        if absent is not None:
            raise BadTask(f"no vector is named {clean(absent)!r}", where=path, remedy=remedy)
        return F.normalize(vectors[[names.index(name) for name in classes]], dim=1), scale
    except (CheckpointError, KeyError, TypeError, ValueError, IndexError) as error:
        raise BadTask("not a file of class-name vectors", where=path, remedy=remedy) from error
