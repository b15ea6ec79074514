"""Rows of a layer over the stream, kept as they are stored and made float32 only where they are looked at.

    row = stored row * gain in front of it, less its mean behind a LayerNorm

What is compared sees few rows or few coordinates at once, so a layer in float32 would be most of what is held.  What
can be said of a matrix alone, it says once, however often it is asked.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import torch
from mergebarrier.numerics import draws

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK_ROWS: Final = 1024
#: Cosine from which two directions are one.
_PARALLEL: Final = 0.9999


@dataclass(frozen=True)
class StoredRows:
    """A matrix in parts, one below the other, each with the gain in front of it.

    Attributes:
      parts:   Float[Tensor, "n d"] in the stored dtype, and Float32[Tensor, "d"] or None for no gain.
      centred: read through LayerNorm.
    """

    parts: tuple[tuple[Tensor, Tensor | None], ...]
    centred: bool = False

    @classmethod
    def of(cls, rows: Tensor) -> StoredRows:
        """Return rows that are what they are."""
        return cls(((rows, None),))

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(rows) for rows, _ in self.parts)

    @property
    def width(self) -> int:
        """Return the number of coordinates."""
        return int(self.parts[0][0].shape[1])

    def at(self, places: Tensor) -> Tensor:
        """Return some rows, Float32[Tensor, "k d"]."""
        found, start = torch.empty(len(places), self.width), 0
        for rows, gain in self.parts:
            inside = ((places >= start) & (places < start + len(rows))).nonzero()[:, 0]
            found[inside] = self._seen(rows[places[inside] - start], gain)
            start += len(rows)
        return found

    def blocks(self) -> Iterator[Tensor]:
        """Yield all rows, Float32[Tensor, "k d"], some at a time."""
        for rows, gain in self.parts:
            for some in rows.split(_BLOCK_ROWS):
                yield self._seen(some, gain)

    def _seen(self, rows: Tensor, gain: Tensor | None) -> Tensor:
        seen = rows.float() if gain is None else rows.float() * gain
        return seen - seen.mean(1, keepdim=True) if self.centred else seen

    @cached_property
    def on(self) -> Tensor:
        """Say which rows hold anything, Bool[Tensor, "n"]."""
        return torch.cat([rows.any(1) for rows in self.blocks()])

    @cached_property
    def plain(self) -> Tensor:
        """Say which rows touch one coordinate or have the direction of another row, Bool[Tensor, "n"]."""
        probe = draws.uniform(("provenance", 0, "directions"), self.width, low=-1.0).float()
        alone, sizes = [], []
        for rows in self.blocks():
            directions = unit(rows)
            alone.append(directions.abs().amax(1) > _PARALLEL)
            sizes.append((directions @ probe).abs())
        plain = torch.cat(alone)
        # Rows of one direction have one size of their product with anything, so in its order they are neighbours.
        order = torch.cat(sizes).argsort()
        for start in range(0, len(order) - 1, _BLOCK_ROWS):
            some = order[start : start + _BLOCK_ROWS + 1]
            directions = unit(self.at(some))
            same = (directions[1:] * directions[:-1]).sum(1).abs() > _PARALLEL
            plain[some[1:]] |= same
            plain[some[:-1]] |= same
        return plain


def unit(rows: Tensor) -> Tensor:
    """Divide rows by their lengths; a silent row stays zero."""
    return torch.nn.functional.normalize(rows, dim=1, eps=1e-30)
