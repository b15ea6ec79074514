"""A checkpoint under other names: every tensor is one that is stored, or rows of several, and nothing is copied.

    tensor of the view = rows of stored tensors one after the other, each stored tensor seen as a matrix
    (E, 2 I, H) of all experts of a layer   <->   (I, H), (I, H) per expert: the same numbers in the same order

Source: the two layouts in which transformers 5 saves a layer of experts.  Differs: it converts whole layers in memory,
here a block of rows is read from where it lies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from mergebarrier.checkpoint.bytes import HASHES, SHA256, TensorInfo
from mergebarrier.checkpoint.read.checkpoint import Checkpoint
from mergebarrier.lazy import torch
from mergebarrier.progress import Progress


@dataclass(frozen=True)
class Piece:
    """Rows of a stored tensor seen as a matrix; ``stop`` None for the tensor as it is.

    ``source`` may be another checkpoint, which stands in for one that lacks the tensor.
    """

    source: Checkpoint
    name: str
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class ViewPart:
    """A tensor of a view: its shape, and the pieces that make it up."""

    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, source: Checkpoint, name: str) -> ViewPart:
        """Return a tensor of a checkpoint as it is."""
        return cls(source.tensors[name].shape, (Piece(source, name),))

    @property
    def whole(self) -> Piece | None:
        """The stored tensor that this is, None for one of pieces."""
        return self.pieces[0] if self.pieces[0].stop is None else None


class View(Checkpoint):
    """A checkpoint under other names; who opened the checkpoint closes it.

    Args:
      stored:   what is read; configuration and side files are its own.
      parts:    name -> ViewPart, in the order of the view.
      left_out: tensor of ``stored`` that the view lacks -> why.
      config:   in place of that which is stored.
    """

    def __init__(
        self,
        stored: Checkpoint,
        parts: Mapping[str, ViewPart],
        left_out: Mapping[str, str],
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Lay the names over what is stored."""
        own_config = stored.config if config is None else dict(config)
        super().__init__(stored.path, stored.root, own_config, stored.shards, stored.side_files, {})
        self.code, self.refused = stored.code, stored.refused
        self._stored, self.parts = stored, dict(parts)
        own = {name: why for one, why in left_out.items() for _, name in stored.made_of(one)}
        self.left_out = {**stored.left_out, **own}
        files = {shard.name for shard in stored.shards}
        self.tensors = {name: _info(name, part, files, stored.shards[-1].name) for name, part in parts.items()}

    def as_stored(self) -> Checkpoint:
        """Return the checkpoint under its own names."""
        return self._stored.as_stored()

    def made_of(self, name: str) -> Sequence[tuple[Checkpoint, str]]:
        """Return the stored tensors that a tensor is made of."""
        return [one for piece in self.parts[name].pieces for one in piece.source.made_of(piece.name)]

    @property
    def name(self) -> str:
        """As what is stored is called."""
        return self._stored.name

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that is read."""
        return self._stored.folders

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor; as ``Checkpoint.read``."""
        part = self.parts[name]
        whole = part.whole
        return whole.source.read(whole.name) if whole is not None else self.read_rows(name, 0, part.shape[0])

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows ``start`` to ``stop`` (exclusive); as ``Checkpoint.read_rows``."""
        part = self.parts[name]
        whole = part.whole
        if whole is not None:
            return whole.source.read_rows(whole.name, start, stop)
        if not 0 <= start <= stop <= part.shape[0]:
            raise IndexError(f"rows {start}:{stop} of {name} with shape {part.shape}")
        per_row = prod(part.shape[1:-1])
        return self._matrix_rows(part, start * per_row, stop * per_row).view(stop - start, *part.shape[1:])

    def read_matrix_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows of a tensor seen as a matrix; as ``Checkpoint.read_matrix_rows``."""
        part = self.parts[name]
        whole = part.whole
        if whole is not None:
            return whole.source.read_matrix_rows(whole.name, start, stop)
        return self._matrix_rows(part, start, stop)

    def _matrix_rows(self, part: ViewPart, start: int, stop: int) -> torch.Tensor:
        found, place = [], 0
        for piece in part.pieces:
            assert piece.stop is not None
            length = piece.stop - piece.start
            first, last = max(start - place, 0), min(stop - place, length)
            if first < last:
                found.append(piece.source.read_matrix_rows(piece.name, piece.start + first, piece.start + last))
            place += length
        return found[0] if len(found) == 1 else torch.cat(found)

    def read_side_file(self, name: str) -> bytes:
        """Return the bytes of one of ``side_files``; the configuration is the view's."""
        if name == "config.json" and self.config != self._stored.config:
            return json.dumps(self.config, indent=2).encode() + b"\n"
        return self._stored.read_side_file(name)

    def stream(self) -> None:
        """Expect one pass over all tensors; as ``Checkpoint.stream``."""
        self._stored.stream()

    def digest(self, name: str, hashing: str = SHA256) -> str:
        """Return a digest of what one tensor is made of."""
        part = self.parts[name]
        if part.whole is not None:
            return part.whole.source.digest(part.whole.name, hashing)
        made_of = [(piece.source.digest(piece.name, hashing), piece.start, piece.stop) for piece in part.pieces]
        return hashlib.sha256(repr(made_of).encode()).hexdigest()

    def digests(self, workers: int = 1, progress: Progress | None = None, *, hashing: str = SHA256) -> dict[str, str]:
        """Hash every stored tensor under its own name; as ``Checkpoint.digests``."""
        return self._stored.digests(workers, progress, hashing=hashing)

    def named_digests(self, hashing: str = SHA256) -> dict[str, str]:
        """Hash every tensor under the view's name, as a file would be that spells it so; a tensor at a time."""
        found = {}
        for name, info in self.tensors.items():
            digest = HASHES[hashing](info)
            digest.add(0, self.read(name).reshape(-1).view(torch.uint8).numpy().data)
            found[name] = digest.hexdigest() or ""
        return found

    def verify_unchanged(self) -> None:
        """Raise ChangedDuringRun when a file that is read changed."""
        sources = [self._stored, *(piece.source for part in self.parts.values() for piece in part.pieces)]
        for source in {id(source): source for source in sources}.values():
            source.verify_unchanged()


def _info(name: str, part: ViewPart, files: Collection[str], last: str) -> TensorInfo:
    """Return dtype, shape and place; what comes from elsewhere stands in the last file."""
    first = part.pieces[0]
    info = first.source.tensors[first.name]
    info = replace(info, name=name, shard=info.shard if info.shard in files else last)
    if part.whole is not None:
        return info
    flat = replace(info, shape=part.shape, begin=0, end=0)
    return replace(flat, end=flat.rows * flat.row_nbytes)
