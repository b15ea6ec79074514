"""What is done in one step: a unit of coupled tensors, whole or in blocks of rows, and how much memory that takes.

A unit whose rows may be handled one by one is cut into blocks of a fixed size, so memory does not grow with an
embedding; the size never depends on the budget or on the workers, because a matrix product may round differently for
other shapes.

    peak_bytes(step) = elements * (sum of stored bytes over sources + stored bytes of the result + 2 * 8)

Source: ours; two float64 copies of a step are what the methods here need at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mergebarrier.checkpoint import TensorInfo
from mergebarrier.errors import LimitExceeded
from mergebarrier.lazy import torch

BLOCK_ELEMENTS = 1 << 21
_WORK_BYTES = 16


class Source(Protocol):
    """What is read from: a ``checkpoint.Checkpoint``, or a view that gives tensors of several other names."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Name -> dtype, shape and place."""

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor into fresh memory."""

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read rows ``start`` to ``stop`` (exclusive)."""

    def verify_unchanged(self) -> None:
        """Raise ChangedDuringRun when what was opened is not what is there."""


class Unit(Protocol):
    """A set of tensors that a method must see together; ``rowwise`` says that blocks of rows can be processed alone."""

    @property
    def name(self) -> str:
        """Unique among the units of a run."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names on disk."""

    @property
    def rowwise(self) -> bool:
        """True when rows are independent of each other."""

    @property
    def streamed(self) -> bool:
        """True when the change reads blocks of rows by itself, as often as it needs them."""


@dataclass(frozen=True)
class Copy:
    """A tensor that no unit names: it goes from the first source to the output as it is."""

    name: str
    tensors: tuple[str, ...]
    rowwise: bool = True
    streamed: bool = False


class Block(MutableMapping[str, "torch.Tensor"]):
    """Tensors of one source for one step, each read when it is first asked for and kept until it is taken out.

    Args:
      rows:   which tensors, and which of their rows; ``start_row`` is the first of them.
      source: what is read.
    """

    def __init__(self, rows: Rows, source: Source) -> None:
        """Read nothing yet."""
        self._rows, self._source, self.start_row = rows, source, rows.start
        self._held: dict[str, torch.Tensor | None] = dict.fromkeys(rows.present(source))

    def __getitem__(self, name: str) -> torch.Tensor:
        """Return a tensor, or the rows of it that are asked for."""
        tensor = self._held[name]
        if tensor is None:
            tensor = self._held[name] = self._rows.read_one(self._source, name)
        return tensor

    def __setitem__(self, name: str, tensor: torch.Tensor) -> None:
        """Put a tensor in the place of what is stored."""
        self._held[name] = tensor

    def __delitem__(self, name: str) -> None:
        """Take a tensor out."""
        del self._held[name]

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor is there, without reading it."""
        return name in self._held

    def __iter__(self) -> Iterator[str]:
        """Yield names, in the order of the unit."""
        return iter(self._held)

    def __len__(self) -> int:
        """Return the number of tensors that are left."""
        return len(self._held)

    def entry(self, name: str, number: int) -> torch.Tensor:
        """Return one index of the first dimension, reading no more than that; nothing is kept."""
        tensor = self._held[name]
        return self._source.read_rows(name, number, number + 1)[0] if tensor is None else tensor[number]


Tables: TypeAlias = "Sequence[MutableMapping[str, torch.Tensor]]"


class Puts(Protocol):
    """Takes tensors, whole or some rows at a time."""

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Take a whole tensor."""

    def put_rows(self, name: str, start_row: int, tensor: torch.Tensor) -> None:
        """Take rows of a tensor."""


@dataclass(frozen=True)
class Rows:
    """One step of a unit.

    Args:
      tensors:     names on disk.
      nbytes:      stored bytes of the step.
      start, stop: the block of rows; ``stop`` is None for a unit that is done whole.
      last:        the unit is complete with this step.
    """

    tensors: tuple[str, ...]
    nbytes: int
    start: int = 0
    stop: int | None = None
    last: bool = True

    def present(self, source: Source) -> list[str]:
        """Return the names of its tensors that a source has."""
        return [name for name in self.tensors if name in source.tensors]

    def read_one(self, source: Source, name: str) -> torch.Tensor:
        """Read one tensor, or the block of its rows."""
        return source.read(name) if self.stop is None else source.read_rows(name, self.start, self.stop)


class Writing:
    """Puts the tensors of a step, whole or in blocks of rows in order; ``reached``: name -> the row after the last."""

    def __init__(self, sink: Puts, rows: Rows, *, pieces: bool) -> None:
        """Begin; ``pieces`` unless every tensor comes at once."""
        self._sink, self._rows, self._pieces, self.reached = sink, rows, pieces, dict[str, int]()

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Put the next rows of a tensor."""
        start = self.reached.get(name, self._rows.start)
        self.reached[name] = start + (len(tensor) if tensor.dim() else 1)
        if tensor.dim() and (self._pieces or self._rows.stop is not None):
            self._sink.put_rows(name, start, tensor)
        else:
            self._sink.put(name, tensor)


def whole(unit: Unit, donor: Source) -> Rows:
    """Return all rows of a unit as one step."""
    return Rows(unit.tensors, sum(donor.tensors[name].nbytes for name in unit.tensors))


def steps(unit: Unit, donor: Source, block_elements: int = BLOCK_ELEMENTS) -> Iterator[Rows]:
    """Cut a unit into its steps: blocks of rows with so many elements at most, or the whole."""
    infos = {name: donor.tensors[name] for name in unit.tensors}
    blocks = row_blocks(unit, infos, block_elements)
    if blocks is None:
        yield whole(unit, donor)
        return
    n_rows, row_nbytes = next(iter(infos.values())).rows, sum(info.row_nbytes for info in infos.values())
    for start, stop in blocks:
        yield Rows(unit.tensors, row_nbytes * (stop - start), start, stop, stop == n_rows)


def copies(donor: Source, units: Sequence[Unit]) -> tuple[Copy, ...]:
    """Return one unit per tensor of ``donor`` that no unit names."""
    named = {name for unit in units for name in unit.tensors}
    return tuple(Copy(f"copy/{name}", (name,)) for name in donor.tensors if name not in named)


def row_blocks(
    unit: Unit, infos: Mapping[str, TensorInfo], block_elements: int = BLOCK_ELEMENTS
) -> Iterator[tuple[int, int]] | None:
    """Row ranges to handle one after the other, or None when the unit is handled whole.

    A unit is cut only when all its tensors have one number of rows and more than one block of elements.
    """
    rows = {info.shape[0] if info.shape else 0 for info in infos.values()}
    elements = sum(info.numel for info in infos.values())
    if not unit.rowwise or len(rows) != 1 or 0 in rows or elements <= block_elements:
        return None
    n_rows = rows.pop()
    step = _block_rows(n_rows, elements, block_elements)
    return ((start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def _block_rows(n_rows: int, elements: int, block_elements: int) -> int:
    return max(1, block_elements * n_rows // elements)


def peak_bytes(unit: Unit, sources: Sequence[Source], block_elements: int = BLOCK_ELEMENTS) -> int:
    """Bytes that one step of a unit needs at most, reading from all sources."""
    donor = {name: sources[0].tensors[name] for name in unit.tensors}
    share = 1.0
    if unit.streamed or row_blocks(unit, donor, block_elements) is not None:
        n_rows = next(iter(donor.values())).rows
        share = _block_rows(n_rows, sum(info.numel for info in donor.values()), block_elements) / n_rows
    stored = sum(source.tensors[name].nbytes for source in sources for name in unit.tensors if name in source.tensors)
    result = sum(info.nbytes for info in donor.values())
    work = _WORK_BYTES * sum(info.numel for info in donor.values())
    return math.ceil(share * (stored + result + work))


def plan_peak_bytes(sources: Sequence[Source], units: Sequence[Unit], workers: int) -> int:
    """Bytes that a run needs for tensors at most: the ``workers`` largest steps at once."""
    peaks = sorted((peak_bytes(unit, sources) for unit in (*units, *copies(sources[0], units))), reverse=True)
    return sum(peaks[: max(1, workers)])


def workers_within(
    units: Sequence[Unit],
    sources: Sequence[Source],
    workers: int,
    max_ram_bytes: int | None,
    block_elements: int = BLOCK_ELEMENTS,
) -> int:
    """Return how many workers the budget allows.

    Args:
      units:          every unit of the run.
      sources:        opened checkpoints.
      workers:        wanted.
      max_ram_bytes:  budget for tensors; None for no limit.
      block_elements: of a block of rows.
    Returns: 1 to ``workers``.
    Raises:  LimitExceeded when even one worker needs more; names the unit and both numbers.
    """
    if max_ram_bytes is None or not units:
        return workers
    peaks = sorted(((peak_bytes(unit, sources, block_elements), unit.name) for unit in units), reverse=True)
    if peaks[0][0] > max_ram_bytes:
        raise LimitExceeded(
            f"needs {peaks[0][0]} bytes at once, the budget is {max_ram_bytes}",
            where=peaks[0][1],
            remedy=f"raise --max-ram to at least {peaks[0][0]} bytes",
        )
    return max(n for n in range(1, workers + 1) if sum(peak for peak, _ in peaks[:n]) <= max_ram_bytes)
