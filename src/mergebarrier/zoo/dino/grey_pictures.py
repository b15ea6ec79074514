"""Two more sets of grey pictures that come in packages: articles of clothing, and silhouettes of animals.

    clothing: gzip(IDX): magic 2051 or 2049, sizes, bytes;      animals: gzip(array), see ``_array_file``

Source: Fashion-MNIST (MIT) in Debian; animal-mnist (MIT) on the Python index.
"""

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mergebarrier.errors import AssetMissing
from mergebarrier.zoo.dino.array_file import read_array

CLOTHES = (
    "t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
ANIMALS = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
_IMAGES, _LABELS = 2051, 2049
_MAX_BYTES = 2**26


def read_idx(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Read a pair of IDX files: (UInt8[Tensor, "n 1 28 28"], Int64[Tensor, "n"])."""
    pictures, answers = _idx(images, _IMAGES, 3), _idx(labels, _LABELS, 1)
    if pictures.shape[1:] != (28, 28) or len(pictures) != len(answers):
        raise _odd(images)
    return torch.from_numpy(pictures.copy())[:, None], torch.from_numpy(answers.astype(np.int64))


def read_animals(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Read the silhouettes: (UInt8[Tensor, "10000 1 28 28"], Int64[Tensor, "10000"])."""
    pictures, answers = (read_array(_inflate(path), path) for path in (images, labels))
    if pictures.shape != (10_000, 28, 28) or answers.shape != (10_000,) or not 0 <= answers.min() <= answers.max() <= 9:
        raise _odd(images)
    return torch.from_numpy(pictures.astype(np.uint8))[:, None], torch.from_numpy(answers.astype(np.int64))


def split_animals(images: Tensor, labels: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Hold out the last fifth of every class: (to learn from), (held out)."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    for c in range(len(ANIMALS)):
        rows = torch.nonzero(labels == c)[:, 0]
        held[rows[len(rows) * 4 // 5 :]] = True
    return (images[~held], labels[~held]), (images[held], labels[held])


def _idx(path: Path, magic: int, rank: int) -> np.ndarray:
    data = _inflate(path)
    head = 4 * (1 + rank)
    sizes = [int.from_bytes(data[i : i + 4], "big") for i in range(0, head, 4)]
    if len(data) < head or sizes[0] != magic or len(data) - head != np.prod(sizes[1:], dtype=np.int64):
        raise _odd(path)
    return np.frombuffer(data, np.uint8, offset=head).reshape(sizes[1:])


def _inflate(path: Path) -> bytes:
    try:
        with gzip.open(path) as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise _odd(path) from error
    if len(data) > _MAX_BYTES:
        raise _odd(path)
    return data


def _odd(path: Path) -> AssetMissing:
    return AssetMissing("not the pictures that were expected", where=path, remedy="fetch the file again")
