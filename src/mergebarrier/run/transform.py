"""Stream a model through a change, unit by unit, so that memory does not grow with the model.

Workers are threads: reading, hashing and torch's kernels leave the interpreter lock.  Each kernel runs on one thread,
so that no sum depends on how many workers there are.

    for every unit not yet done, whole or in blocks of rows:
        read from all sources -> gather -> change -> round -> scatter -> write          (``change_rows`` below)

Source: ours.  Differs from a process pool: nothing is pickled, one set of descriptors, and start-up costs nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Protocol, TypeAlias, TypeVar

from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.errors import InternalError
from mergebarrier.lazy import torch
from mergebarrier.progress import Progress
from mergebarrier.run.units import (
    BLOCK_ELEMENTS,
    Block,
    Copy,
    Puts,
    Rows,
    Source,
    Tables,
    Unit,
    Writing,
    copies,
    steps,
    workers_within,
)

_T = TypeVar("_T")
UnitT = TypeVar("UnitT", bound=Unit)
_UnitT_contra = TypeVar("_UnitT_contra", contravariant=True, bound=Unit)


#: New tensors by name, or one after the other, each whole or in blocks of rows from the first to the last.
Changed: TypeAlias = "Mapping[str, torch.Tensor] | Iterator[tuple[str, torch.Tensor]]"


class Change(Protocol[_UnitT_contra]):
    """What an algorithm does to one unit."""

    def __call__(self, unit: _UnitT_contra, tables: Tables, /) -> Changed:
        """Return new tensors by name, or yield them one after the other; one table of tensors per source comes in."""


class Layout(Protocol[_UnitT_contra]):
    """Between what is stored and what a change sees: ``arch.CIRCUITS``, or the tensors as they are stored."""

    def written(self, unit: _UnitT_contra, /) -> tuple[str, ...]:
        """Return the names that a unit is written under."""

    def gather(self, unit: _UnitT_contra, stored: Block, /) -> MutableMapping[str, torch.Tensor]:
        """Return what the change sees of the stored tensors of one source, which are read when they are asked for."""

    def rounded(self, tensor: torch.Tensor, dtype: torch.dtype | None, /) -> torch.Tensor:
        """Return a changed tensor as it will be stored; ``dtype`` is that of the first source's, if it has it."""

    def scatter(self, unit: _UnitT_contra, changed: Mapping[str, torch.Tensor], /) -> dict[str, torch.Tensor]:
        """Return the tensors to store: the inverse of ``gather``."""


class _AsStored:
    """A change that works on stored tensors; it rounds by itself, to the dtype that its recipe asks for."""

    def written(self, unit: Unit) -> tuple[str, ...]:
        return unit.tensors

    def gather(self, unit: object, stored: Block) -> Block:
        del unit
        return stored

    def rounded(self, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
        del dtype
        return tensor

    def scatter(self, unit: object, changed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        del unit
        return dict(changed)


AS_STORED: Final = _AsStored()


class Sink(Puts, Protocol):
    """Where the results of a run go: a ``checkpoint.Writer``, or anything with the same four methods."""

    def done(self, unit_name: str) -> bool:
        """True when the unit need not be done again."""

    def finish(self, unit_name: str, names: Sequence[str]) -> None:
        """Note that the tensors of a unit are complete."""


@contextmanager
def one_thread_kernels() -> Iterator[None]:
    """Run torch kernels on one thread inside the block, and restore the number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def transform(
    sources: Sequence[Source],
    sink: Sink,
    units: Sequence[UnitT],
    change: Change[UnitT],
    *,
    layout: Layout[UnitT] = AS_STORED,
    workers: int = 1,
    max_ram_bytes: int | None = None,
    progress: Progress | None = None,
    block_elements: int = BLOCK_ELEMENTS,
) -> None:
    """Change every unit of a model; tensors in no unit are copied from ``sources[0]``.

    Args:
      sources:        opened checkpoints; the first is the donor of names and shapes.
      sink:           takes the results.
      units:          disjoint; every name must be in ``sources[0]``.
      change:         (unit, one table of tensors per source) -> new tensors.  A source that lacks a tensor gives a
                      table without it; a rowwise unit may come in row blocks (``Block.start_row``).
      layout:         what the change sees: stored tensors, or the logical ones of a circuit.
      workers:        threads; no influence on the result.
      max_ram_bytes:  budget for tensors; fewer workers run when it is tight.
      progress:       called with (bytes done, bytes in all), from any thread, one call at a time.
      block_elements: of a block of rows, at most.
    Raises: LimitExceeded when the budget is below one unit; InternalError when units overlap or results do not fit;
            ChangedDuringRun; whatever ``change`` raises.  Units that were finished by then stay finished.
    Numerics: same bits for any number of workers and any order of units.
    """
    _check_disjoint(sources[0], units)
    steps: list[UnitT | Copy] = [*units, *copies(sources[0], units)]
    sizes = {unit.name: sum(sources[0].tensors[name].nbytes for name in unit.tensors) for unit in steps}
    todo = sorted((unit for unit in steps if not sink.done(unit.name)), key=lambda unit: -sizes[unit.name])
    workers = workers_within(todo, sources, max(1, workers), max_ram_bytes, block_elements)
    total = sum(sizes.values())
    done = total - sum(sizes[unit.name] for unit in todo)
    lock, stop = threading.Lock(), threading.Event()

    def run(unit: UnitT | Copy) -> None:
        nonlocal done
        if stop.is_set():
            return
        for part in _process(sources, sink, unit, change, layout, block_elements):
            with lock:
                done += part
                if progress is not None:
                    progress(done, total)
            if stop.is_set():
                return

    with one_thread_kernels():
        if progress is not None:
            progress(done, total)
        if workers == 1:
            for unit in todo:
                run(unit)
        else:
            _run_threads(todo, run, workers, stop)
    for source in sources:
        source.verify_unchanged()


def _run_threads(todo: Sequence[_T], run: Callable[[_T], None], workers: int, stop: threading.Event) -> None:
    """Run every unit on one of ``workers`` threads; none is alive afterwards, whatever happens.

    One thread begins with the largest unit and the others with the smallest, so that large ones, which decide the peak
    of memory, do not meet while there are others.

    Threads of our own, not an executor: Ctrl-C while an executor starts a thread leaves one that is never joined, and
    that would go on writing after the files are closed.
    """
    queue, faults, idle = deque(todo), list[BaseException](), threading.Semaphore(0)

    def work(take: Callable[[], _T]) -> None:
        try:
            while not stop.is_set() and not faults:
                try:
                    unit = take()
                except IndexError:
                    return
                run(unit)
        except BaseException as fault:
            faults.append(fault)
        finally:
            idle.release()

    threads = [
        threading.Thread(target=work, args=[queue.pop if n else queue.popleft], daemon=True) for n in range(workers)
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            idle.acquire()
    finally:
        # Also on Ctrl-C: units that have begun are dropped at their next block, the others never begin.
        stop.set()
        for thread in threads:
            _join(thread)
    if faults:
        raise faults[0]


def _join(thread: threading.Thread) -> None:
    """Wait for a thread, however often Ctrl-C is pressed; one that has not begun yet sees ``stop`` first."""
    while thread.is_alive():
        with suppress(KeyboardInterrupt):
            thread.join()


def _process(
    sources: Sequence[Source],
    sink: Sink,
    unit: UnitT | Copy,
    change: Change[UnitT],
    layout: Layout[UnitT],
    block_elements: int,
) -> Iterator[int]:
    """Do one unit; yields the stored bytes of each finished step.  A unit dropped half-way is simply not finished."""
    for rows in steps(unit, sources[0], block_elements):
        change_rows(sources, sink, unit, rows, change, layout)
        if rows.last:
            sink.finish(unit.name, unit.tensors if isinstance(unit, Copy) else layout.written(unit))
        yield rows.nbytes


def change_rows(
    sources: Sequence[Source],
    sink: Puts,
    unit: UnitT | Copy,
    rows: Rows,
    change: Change[UnitT],
    layout: Layout[UnitT] = AS_STORED,
) -> None:
    """Live the life of the tensors of one unit, or of a block of its rows, once.

    Args:
      sources: opened checkpoints, the donor of dtypes first.
      sink:    takes the results.
      unit:    what is changed; a tensor that no unit names goes from the first source to the sink as it is.
      rows:    all of the unit's rows, or a block of them.
      change:  the algorithm.
      layout:  what the algorithm sees.
    Raises: InternalError unless every tensor comes that the unit is written under.
    """
    stored = [Block(rows, source) for source in sources]  # read: each tensor when it is asked for
    if isinstance(unit, Copy):
        for name, tensor in stored[0].items():
            Writing(sink, rows, pieces=False).put(name, tensor)
        return
    tables = [layout.gather(unit, block) for block in stored]  # gather
    del stored
    new = change(unit, tables)  # change: all at once, or one piece after the other
    writing, places = Writing(sink, rows, pieces=not isinstance(new, Mapping)), layout.written(unit)
    for name, tensor in new.items() if isinstance(new, Mapping) else new:
        donor = sources[0].tensors.get(name)
        rounded = layout.rounded(tensor, None if donor is None else TORCH[donor.dtype])  # round, once
        for place, result in layout.scatter(unit, {name: rounded}).items():  # scatter
            if place not in places:
                raise _odd(unit, place)
            writing.put(place, result)  # write: a value that leaves the range of its dtype is refused here
        del tensor, rounded, result
    missing = next((name for name in places if name not in writing.reached), None)
    if missing is not None:
        raise _odd(unit, missing)


def _odd(unit: Unit, name: str) -> InternalError:
    return InternalError("a method must return exactly the tensors of its unit", where=f"{unit.name}: {name}")


def _check_disjoint(donor: Source, units: Sequence[Unit]) -> None:
    seen: dict[str, str] = {}
    for unit in units:
        for name in unit.tensors:
            if name in seen or name not in donor.tensors:
                other = seen.get(name, "no tensor of the first source")
                raise InternalError(f"tensor {name} is in {other} and in {unit.name}")
            seen[name] = unit.name
