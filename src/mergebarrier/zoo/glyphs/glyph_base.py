"""The pre-trained base of the small bench: an encoder and one unit vector per class name, learned together.

It plays the part of CLIP: it has seen every alphabet, easily drawn, and a handful of real digits, so it knows all tasks
a little before any fine-tune.  The result is committed with the package (bfloat16, 0.8 MB); this makes it again.

    min over f, V:  CE( 20 cos(f(x), V_name) ),   138 names,   11,100 pictures

Source: ours, after the two towers of CLIP (arXiv 2103.00020).  Differs: the text tower is a table of vectors.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.evaluate import image_logits, pixels
from mergebarrier.evaluate.images import CONFIG, GlyphCnn
from mergebarrier.progress import Progress
from mergebarrier.training import FullRecipe, batches, train_full, uniform
from mergebarrier.zoo.glyphs.glyph_file import BANK, SCALE
from mergebarrier.zoo.glyphs.glyphs import ALPHABETS, NAMES, draw

RECIPE = FullRecipe(steps=1200, learning_rate=1e-3, weight_decay=0.05, warmup_steps=50, batch_size=128, seed=0)
#: Pictures to learn from: easy drawings per alphabet, and how many real ones of each set of digits.
DRAWN: Mapping[str, int] = {alphabet: 800 if alphabet == "digits" else 2000 for alphabet in ALPHABETS}
REAL = 150
EASY = 0.5


class GlyphSizes(TypedDict):
    """Arguments of ``GlyphCnn``."""

    num_channels: int
    image_size: int
    widths: tuple[int, ...]
    hidden_size: int
    projection_dim: int


def sizes() -> GlyphSizes:
    """Return the arguments of ``GlyphCnn`` for this base."""
    return {
        "num_channels": CONFIG["num_channels"],
        "image_size": CONFIG["image_size"],
        "widths": tuple(CONFIG["widths"]),
        "hidden_size": CONFIG["hidden_size"],
        "projection_dim": CONFIG["projection_dim"],
    }


def pretrain(
    faces: Path, real: Sequence[tuple[Tensor, Tensor]], recipe: FullRecipe = RECIPE, progress: Progress | None = None
) -> dict[str, Tensor]:
    """Train the base.

    Args:
      faces:    folder of the font files.
      real:     (images, labels 0 to 9) of each set of real digits; the first 150 of each are learned.
      recipe:   hyper-parameters.
      progress: called with (steps done, steps in all).
    Returns: name -> BFloat16 tensor, the bank under ``names.weight``: what is committed.
    Numerics: determinism class profile.
    """
    images, labels = _pictures(faces, real, recipe.seed)
    module = GlyphCnn(**sizes())
    bank = nn.Parameter((uniform(recipe.seed, BANK, len(NAMES), CONFIG["projection_dim"]) - 0.5).float())
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                bound = parameter[0].numel() ** -0.5
                parameter.copy_((2 * uniform(recipe.seed, name, *parameter.shape) - 1) * bound)
            else:
                parameter.fill_(1.0 if name.startswith("stem") and name.endswith("weight") else 0.0)
    both = nn.ParameterDict({"bank": bank})
    learner = nn.ModuleList([module, both])
    rows = batches(len(images), recipe.batch_size, seed=recipe.seed, label="pretrain")

    def loss(step: int) -> Tensor:
        batch = next(rows)
        logits = image_logits(module(pixels(images[batch])), F.normalize(bank, dim=1), SCALE)
        return F.cross_entropy(logits, labels[batch])

    train_full(learner, recipe, loss, progress=progress)
    tensors = {name: parameter.detach() for name, parameter in module.named_parameters()}
    tensors[BANK] = F.normalize(bank.detach(), dim=1)
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}


def _pictures(faces: Path, real: Sequence[tuple[Tensor, Tensor]], seed: int) -> tuple[Tensor, Tensor]:
    images, labels, first = [], [], 0
    for alphabet, letters in ALPHABETS.items():
        drawn, classes = draw(alphabet, DRAWN[alphabet], hardness=EASY, seed=seed, label="pretrain", faces=faces)
        images.append(drawn)
        labels.append(classes + first)
        first += len(letters)
    for some, classes in real:
        images.append(some[:REAL])
        labels.append(classes[:REAL])
    return torch.cat(images), torch.cat(labels)
