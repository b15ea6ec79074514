"""What is done in one step: a unit of coupled tensors, whole or in blocks of rows, and how much memory that takes.

A unit whose rows may be handled one by one is cut into blocks of a fixed size, so memory does not grow with an
embedding; the size never depends on the budget or on the workers, because a matrix product may round differently for
other shapes.

    peak_bytes(step) = elements * (sum of stored bytes over sources + stored bytes of the result + 2 * 8)

Source: ours; two float64 copies of a step are what the methods here need at most.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from mergebarrier.checkpoint import TensorInfo
from mergebarrier.errors import LimitExceeded

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


@dataclass(frozen=True)
class Copy:
    """A tensor that no unit names: it goes from the first source to the output as it is."""

    name: str
    tensors: tuple[str, ...]
    rowwise: bool = True


class Block(dict[str, torch.Tensor]):
    """Tensors of one source for one step; ``start_row`` is the first row of a rowwise block, 0 otherwise."""

    start_row: int = 0


Tables = list[dict[str, torch.Tensor]]


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

    def read(self, source: Source) -> Block:
        """Read what a source has of it."""
        names = [name for name in self.tensors if name in source.tensors]
        if self.stop is None:
            return Block((name, source.read(name)) for name in names)
        block = Block((name, source.read_rows(name, self.start, self.stop)) for name in names)
        block.start_row = self.start
        return block

    def write(self, sink: Puts, results: Mapping[str, torch.Tensor]) -> None:
        """Put the results where they belong."""
        for name, tensor in results.items():
            if self.stop is None:
                sink.put(name, tensor)
            else:
                sink.put_rows(name, self.start, tensor)


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
    if row_blocks(unit, donor, block_elements) is not None:
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
