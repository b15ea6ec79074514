"""Class names as vectors: a sentence encoder reads "a picture of ..." and a head is made from its frozen answer.

It plays the part of CLIP's text tower for encoders that have none; what it says is mapped into the encoder's feature
space by one linear map, learned once on the base and then frozen.

    e(name) = normalised mean over tokens of MiniLM("a picture of name");   head row = normalised(P e(name))

Source: all-MiniLM-L6-v2 (sentence-transformers), as a plain BertModel.  Differs from CLIP: the two towers never met.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import image_logits, load_sentence_encoder
from mergebarrier.progress import Progress
from mergebarrier.training import FullRecipe, train_full

PROMPT = "a picture of {}"


def name_embeddings(folder: Path, names: Sequence[str]) -> Tensor:
    """Return Float32[Tensor, "names 384"], unit rows."""
    with open_checkpoint(folder) as checkpoint:
        encode = load_sentence_encoder(checkpoint)
    return encode([PROMPT.format(name) for name in names])


def learn_projection(
    features: Tensor,
    labels: Tensor,
    embeddings: Tensor,
    scale: float,
    recipe: FullRecipe,
    progress: Progress | None = None,
) -> Tensor:
    """Learn the one linear map on features of the frozen base.

    Args:
      features:   Float32[Tensor, "n features"] of pictures.
      labels:     Int64[Tensor, "n"], indices into the names.
      embeddings: Float32[Tensor, "names width"].
      scale:      of the logits.
      recipe:     hyper-parameters; every step sees all pictures.
      progress:   called with (steps done, steps in all).
    Returns: Float32[Tensor, "features width"]; it starts from the class means (least squares), so nothing is drawn.
    """
    means = torch.stack([F.normalize(features, dim=1)[labels == c].mean(0) for c in range(len(embeddings))])
    start = torch.linalg.lstsq(embeddings, means, driver="gelsd").solution.T.contiguous()
    projection = nn.Parameter(start)
    learner = nn.ParameterDict({"projection": projection})

    def loss(step: int) -> Tensor:
        del step
        head = F.normalize(embeddings @ projection.T, dim=1)
        return F.cross_entropy(image_logits(features, head, scale), labels)

    train_full(learner, recipe, loss, progress=progress)
    return projection.detach()
