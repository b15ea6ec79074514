"""Fine-tunes of an image base: every weight learns one task under the task's frozen head, as the paper's experts do.

    min over f:  CE( scale cos(f(x), head_y) );   AdamW, warm-up, half a cosine, clipped gradient

Source: the experts of the task-arithmetic experiments (arXiv 2212.04089) and of BadMerging (arXiv 2408.07362).
Differs: the recipe of each base is in the catalogue; draws are keyed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import (
    ImageTask,
    Tail,
    compute_dtype,
    image_logits,
    load_encoder,
    pixels,
    read_image_task,
    save_encoder,
)
from mergebarrier.parameters import built
from mergebarrier.progress import Progress
from mergebarrier.training import FullRecipe, batches, train_full
from mergebarrier.zoo.base.models import versions


def fine_tune(
    encoder: nn.Module, task: ImageTask, recipe: FullRecipe, *, progress: Progress | None = None
) -> tuple[float, ...]:
    """Turn a base into an expert of a task, in place.

    Args:
      encoder:  from ``load_encoder``; the parameters that require a gradient change.
      task:     its train split is learned.
      recipe:   hyper-parameters.
      progress: called with (steps done, steps in all).
    Returns: the loss of every step, in nats.
    Raises:  Diverged.
    """
    images, labels = task.train.images, task.train.labels
    rows = batches(len(labels), recipe.batch_size, seed=recipe.seed, label="fine-tune")

    def loss(step: int) -> Tensor:
        batch = next(rows)
        logits = image_logits(encoder(pixels(images[batch])), task.head, task.scale)
        return F.cross_entropy(logits, labels[batch])

    return train_full(encoder, recipe, loss, progress=progress)


@dataclass(frozen=True, kw_only=True)
class LastBlocks:
    """Settings of an expert of which the last blocks alone are trained."""

    task: str
    blocks: int
    recipe: Mapping[str, object]


def build(
    base: Path,
    task: Path,
    settings: Mapping[str, object],
    out: Path,
    content: dict[str, object],
    progress: Progress,
    *,
    blocks: int | None = None,
) -> None:
    """Train an expert and write it in its base's layout.

    Args:
      base:     folder of the base.
      task:     task file.
      settings: arguments of ``FullRecipe``.
      out:      folder to be made.
      content:  origin, for the manifest; the last loss joins it.
      progress: called with (steps done, steps in all).
      blocks:   train the last so many blocks of a transformer alone; None for every weight.
    """
    with open_checkpoint(base) as checkpoint:
        whole = load_encoder(checkpoint)
        encoder = whole if blocks is None else Tail(whole, blocks, bfloat16=compute_dtype() == "bfloat16")
        losses = fine_tune(encoder, read_image_task(task), built(FullRecipe, settings), progress=progress)
        said = content | {"final_loss_nats": losses[-1]}
        save_encoder(encoder, checkpoint, out, said, environment=versions())
