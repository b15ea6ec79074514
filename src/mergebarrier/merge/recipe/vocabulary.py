"""Which tensors are of the vocabulary, how many rows it has, and embeddings cut to the rows that all models have.

A tensor is of the vocabulary when it is outside of the layers, has vocab_size rows in the donor, and is not a norm and
no table of positions; where as many rows mean something else too (a norm is as wide), its name says so.  A bias of
logits may be one row with as many columns.  Source: ours.  Differs from mergekit, whose descriptions of architectures
name them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mergebarrier.checkpoint import with_rows
from mergebarrier.checkpoint.bytes import TORCH, stored_dtype
from mergebarrier.merge.recipe.layers import locate
from mergebarrier.merge.recipe.tensor_plan import Target
from mergebarrier.merge.vocabulary import Picks, VocabularyRows
from mergebarrier.merge.vocabulary import rows as rows_of

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, TensorInfo

_OTHER_TABLES = re.compile(r"position|wpe|token_type|norm|(^|[._])ln_")
#: Last words of what has a row per token, whatever else is as wide.
_NAMED = re.compile(
    r"(^|[._])(\w*embed\w*|[ws]te|shared|\w*head|proj_out|\w*logits\w*|vocab\w*|decoder|predictions)(\.(weight|bias))?$"
)


def is_across(info: "TensorInfo") -> bool:
    """Say whether a tensor of the vocabulary is one row, with a number per token."""
    return info.name.endswith("logits_bias") and len(info.shape) == 2 and info.shape[0] == 1


def tokens_of(info: "TensorInfo") -> int:
    """Return how many tokens a tensor of the vocabulary has rows for."""
    return info.shape[1] if is_across(info) else info.rows


def vocabulary_names(donor: "Checkpoint") -> frozenset[str]:
    """Return the tensors of a model whose first axis is its vocabulary."""
    size = vocabulary_size(donor.config)
    found = {
        name
        for name, info in donor.tensors.items()
        if info.shape and tokens_of(info) == size and locate(name) is None and not _OTHER_TABLES.search(name)
    }
    as_wide = any("norm" in name and info.shape == (size,) for name, info in donor.tensors.items())
    return frozenset(filter(_NAMED.search, found) if as_wide else found)


def vocabulary_size(config: Mapping[str, object]) -> int | None:
    """Return vocab_size of a configuration, or of the table inside it that has one, of text where several have."""
    key = _vocabulary_table(config)
    found = config if key is None else config[key]
    size = found.get("vocab_size") if isinstance(found, dict) else None
    return size if type(size) is int else None


def with_vocabulary_size(config: Mapping[str, object], size: int) -> dict[str, object]:
    """Return a configuration with another vocab_size, in every table that had the old one."""
    before = vocabulary_size(config)
    return dict(config) if before is None else with_rows(config, before, size)


def _vocabulary_table(config: Mapping[str, object]) -> str | None:
    found = [key for key, value in config.items() if isinstance(value, dict) and "vocab_size" in value]
    text = next((key for key in found if key.startswith(("text", "language", "llm"))), None)
    return None if text is None and "vocab_size" in config else text or next(iter(found), None)


def widest(dtypes: Sequence[str]) -> str:
    """Return the dtype that holds every value of some floating dtypes, as safetensors names them."""
    if len(set(dtypes)) == 1:
        return dtypes[0]
    wide = TORCH[dtypes[0]]
    for dtype in dtypes[1:]:
        wide = torch.promote_types(wide, TORCH[dtype])
    return stored_dtype(wide)


def truncated(target: Target) -> Target:
    """Return a tensor of the vocabulary cut to the rows that every input has."""
    counts = [tokens_of(item.model.tensors[item.name]) for item in target.inputs]
    if len(set(counts)) == 1:
        return target
    size = min(counts)
    models = tuple(item.model for item in target.inputs)
    inputs = []
    for index, item in enumerate(target.inputs):
        picks = Picks(
            models,
            np.full(size, index, np.int32),
            np.arange(size, dtype=np.int64),
            np.full(size, rows_of.OWN, np.int8),
            {},
        )
        info = item.model.tensors[item.name]
        rows = VocabularyRows(item.name, picks, TORCH[info.dtype], is_across(info))
        inputs.append(replace(item, rows=rows))
    return replace(target, inputs=tuple(inputs))
