"""Sentences as vectors, for class names: a small BERT whose answer is the mean of its last states.

    e(text) = v / |v|,   v = mean over the text's tokens of BERT(tokens)

Source: Sentence-BERT, arXiv 1908.10084 (mean pooling).  Differs: nothing; loading runs nothing from the folder.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import UnknownFamily, clean
from mergebarrier.evaluate.base import load_tokenizer, stock_library
from mergebarrier.evaluate.images.bodies import stock_module

_KEYS = (
    "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings",
    "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size",
)  # fmt: skip


def load_sentence_encoder(checkpoint: Checkpoint) -> Callable[[Sequence[str]], Tensor]:
    """Build the encoder of a folder of model type ``bert``.

    Args:
      checkpoint: an opened model folder with ``tokenizer.json``.
    Returns: texts -> Float32[Tensor, "texts hidden"], unit rows.
    Raises:  UnknownFamily, BadConfig, MissingTensor, ConfigMismatch, UnsupportedFeature, MissingExtra.
    """
    kind = checkpoint.config.get("model_type")
    if kind != "bert":
        raise UnknownFamily(
            f"{clean(kind)!r} is not a supported sentence encoder",
            where=checkpoint.path / "config.json",
            remedy="give a BERT model",
        )
    tokenizer = load_tokenizer(checkpoint)
    module: Any = stock_module(stock_library().BertModel, checkpoint.config, checkpoint, _KEYS)

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        # One by one: texts are short, and padding would need a mask.
        rows = [module(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state for text in texts]
        return F.normalize(torch.cat([states.mean(1) for states in rows]), dim=1)

    return encode
