"""The rows of an embedding or head in the order of another vocabulary, read run by run and never as a whole.

    row of token t for model m:   m's own, if m has t and no rule forces another
                                  else the rule's | the base's | the only owner's | the mean of the owners' | zero
    rows behind the last token:   the mean of all rows before them

Source: mergekit 0.1.5. Differs: means are summed in float64, and a token without any source is reported, not only zero.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergebarrier.checkpoint.bytes import stored_dtype

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, TensorInfo

#: How a row came to be where it is; padding also fills gaps between ids.
WORDS = ("own", "rule", "base", "only owner", "mean", "zero", "padding")
OWN, RULE, BASE, ONLY, MEAN, ZERO, PADDING = range(len(WORDS))
NOBODY = -1
_STEP = 4096


@dataclass(frozen=True, eq=False)
class Picks:
    """Where every row comes from, for any tensor of the vocabulary.

    Args:
      models: to read from.
      owner:  per row, index into ``models``; NOBODY for means, zeros and padding.
      row:    per row, the row there.
      word:   per row, index into WORDS.
      means:  row -> ((owner, row there), ..), for rows that are a mean.
    """

    models: "tuple[Checkpoint, ...]"
    owner: NDArray[np.int32]
    row: NDArray[np.int64]
    word: NDArray[np.int8]
    means: Mapping[int, tuple[tuple[int, int], ...]]

    def summary(self) -> dict[str, int]:
        """Return how many rows came how."""
        counts = np.bincount(self.word, minlength=len(WORDS)).tolist()
        return {word: count for word, count in zip(WORDS, counts, strict=True) if count}


@dataclass(frozen=True, eq=False)
class VocabularyRows:
    """The rows of one tensor of one model, as the merge sees them.

    Args:
      name:  of the tensor, the same in every model it is read from.
      picks: which rows.
      dtype: of the result, wide enough for every model.
      across: the tensor is one row with a number per token.
    """

    name: str
    picks: Picks
    dtype: torch.dtype
    across: bool = False
    _mean: list[Tensor] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def info(self, of: "TensorInfo") -> "TensorInfo":
        """Return what is known about the tensor with these rows; ``of`` is as it is in the file."""
        shape = (1, len(self.picks.word)) if self.across else (len(self.picks.word), *of.shape[1:])
        return replace(
            of, dtype=stored_dtype(self.dtype), shape=shape, begin=0, end=math.prod(shape) * self.dtype.itemsize
        )

    def read(self, start: int, stop: int, tail: tuple[int, ...]) -> Tensor:
        """Read rows ``start`` to ``stop`` (exclusive) of shape ``(*, *tail)``."""
        if self.across:
            return self._read(0, len(self.picks.word), ())[None][start:stop]
        return self._read(start, stop, tail)

    def _stored(self, model: "Checkpoint", start: int, stop: int) -> Tensor:
        return model.read(self.name)[0, start:stop] if self.across else model.read_rows(self.name, start, stop)

    def _read(self, start: int, stop: int, tail: tuple[int, ...]) -> Tensor:
        picks = self.picks
        out = torch.zeros((stop - start, *tail), dtype=self.dtype)
        for first, last in self._runs(start, stop):
            model, theirs = picks.models[picks.owner[first]], int(picks.row[first])
            out[first - start : last - start] = self._stored(model, theirs, theirs + last - first)
        word = picks.word[start:stop]
        for row in np.flatnonzero(word == MEAN) + start:
            sources = picks.means[int(row)]
            parts = [self._stored(picks.models[owner], theirs, theirs + 1)[0] for owner, theirs in sources]
            out[row - start] = torch.stack([part.double() for part in parts]).mean(dim=0).to(self.dtype)
        padding = np.flatnonzero(word == PADDING)
        if len(padding):
            out[torch.from_numpy(padding)] = self._padding(tail)
        return out

    def _runs(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield (first, behind the last) of rows that follow one another in one model."""
        owner, row = self.picks.owner[start:stop], self.picks.row[start:stop]
        breaks = (owner[1:] != owner[:-1]) | (row[1:] != row[:-1] + 1)
        edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), stop - start]
        for first, last in pairwise(edges):
            if first < last and owner[first] != NOBODY:
                yield start + first, start + last

    def _padding(self, tail: tuple[int, ...]) -> Tensor:
        """Return the mean of the rows that are tokens, from one pass that is made once."""
        with self._lock:
            if not self._mean:
                total, tokens = torch.zeros(tail, dtype=torch.float64), 0
                word = self.picks.word
                for start in range(0, len(word), _STEP):
                    stop = min(start + _STEP, len(word))
                    known = torch.from_numpy(np.flatnonzero(word[start:stop] != PADDING))
                    if len(known):
                        end = start + int(known[-1]) + 1
                        part = self._tokens(start, end, tail)[known]
                        total += part.sum(dim=0, dtype=torch.float64)
                        tokens += len(known)
                self._mean.append((total / max(1, tokens)).to(self.dtype))
            return self._mean[0]

    def _tokens(self, start: int, stop: int, tail: tuple[int, ...]) -> Tensor:
        """Read rows, padding among them left at zero."""
        quiet = Picks(
            self.picks.models,
            self.picks.owner,
            self.picks.row,
            np.where(self.picks.word == PADDING, ZERO, self.picks.word).astype(np.int8),
            self.picks.means,
        )
        return VocabularyRows(self.name, quiet, self.dtype, self.across)._read(start, stop, tail)
