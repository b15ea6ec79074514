"""Stream a model through a function, unit by unit, so that memory does not grow with the model.

Workers are threads: reading, hashing and torch's kernels leave the interpreter lock.  Each kernel runs on one thread,
so that no sum depends on how many workers there are.

    for every unit not yet done:  read from all sources -> apply -> put -> finish

Source: ours.  Differs from a process pool: nothing is pickled, one set of descriptors, and start-up costs nothing.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import torch

from mergebarrier.errors import InternalError
from mergebarrier.run.units import Block, Copy, Source, Unit, copies, row_blocks, workers_within

Apply = Callable[[Unit, list[dict[str, torch.Tensor]]], dict[str, torch.Tensor]]
Progress = Callable[[int, int], None]


class Sink(Protocol):
    """Where results go: a ``checkpoint.Writer``, or anything with the same four methods."""

    def done(self, unit_name: str) -> bool:
        """True when the unit need not be done again."""

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Take a whole tensor."""

    def put_rows(self, name: str, start_row: int, tensor: torch.Tensor) -> None:
        """Take rows of a tensor."""

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
    units: Sequence[Unit],
    apply: Apply,
    *,
    workers: int = 1,
    max_ram_bytes: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Apply a function to every unit of a model; tensors in no unit are copied from ``sources[0]``.

    Args:
      sources:       opened checkpoints; the first is the donor of names and shapes.
      sink:          takes the results.
      units:         disjoint; every name must be in ``sources[0]``.
      apply:         (unit, one table of tensors per source) -> results under the unit's names.  A source that lacks a
                     tensor gives a table without it; a rowwise unit may come in row blocks (``Block.start_row``).
      workers:       threads; no influence on the result.
      max_ram_bytes: budget for tensors; fewer workers run when it is tight.
      progress:      called with (bytes done, bytes in all), from any thread, one call at a time.
    Raises: LimitExceeded when the budget is below one unit; InternalError when units overlap or results do not fit;
            ChangedDuringRun; whatever ``apply`` raises.  Units that were finished by then stay finished.
    Numerics: same bits for any number of workers and any order of units.
    """
    _check_disjoint(sources[0], units)
    steps: list[Unit] = [*units, *copies(sources[0], units)]
    sizes = {unit.name: sum(sources[0].tensors[name].nbytes for name in unit.tensors) for unit in steps}
    todo = sorted((unit for unit in steps if not sink.done(unit.name)), key=lambda unit: -sizes[unit.name])
    workers = workers_within(todo, sources, max(1, workers), max_ram_bytes)
    total = sum(sizes.values())
    done = total - sum(sizes[unit.name] for unit in todo)
    lock, stop = threading.Lock(), threading.Event()

    def run(unit: Unit) -> None:
        nonlocal done
        if stop.is_set():
            return
        for part in _process(sources, sink, unit, apply):
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


def _run_threads(todo: Sequence[Unit], run: Callable[[Unit], None], workers: int, stop: threading.Event) -> None:
    """Run every unit on one of ``workers`` threads; none is alive afterwards, whatever happens.

    One thread begins with the largest unit and the others with the smallest, so that large ones, which decide the peak
    of memory, do not meet while there are others.

    Threads of our own, not an executor: Ctrl-C while an executor starts a thread leaves one that nobody joins, and that
    would go on writing after the files are closed.
    """
    queue, faults, idle = deque(todo), list[BaseException](), threading.Semaphore(0)

    def work(take: Callable[[], Unit]) -> None:
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


def _process(sources: Sequence[Source], sink: Sink, unit: Unit, apply: Apply) -> Iterator[int]:
    """Do one unit; yields the stored bytes of each finished step.  A unit dropped half-way is simply not finished."""
    infos = {name: sources[0].tensors[name] for name in unit.tensors}
    blocks = row_blocks(unit, infos)
    if blocks is None:
        results = _apply(apply, unit, [Block((n, s.read(n)) for n in unit.tensors if n in s.tensors) for s in sources])
        for name, tensor in results.items():
            sink.put(name, tensor)
        sink.finish(unit.name, unit.tensors)
        yield sum(info.nbytes for info in infos.values())
        return
    for start, stop in blocks:
        for name, tensor in _apply(apply, unit, [_read_block(s, unit, start, stop) for s in sources]).items():
            sink.put_rows(name, start, tensor)
        if stop == next(iter(infos.values())).rows:
            sink.finish(unit.name, unit.tensors)
        yield sum(info.row_nbytes * (stop - start) for info in infos.values())


def _read_block(source: Source, unit: Unit, start: int, stop: int) -> Block:
    block = Block((name, source.read_rows(name, start, stop)) for name in unit.tensors if name in source.tensors)
    block.start_row = start
    return block


def _apply(apply: Apply, unit: Unit, blocks: list[Block]) -> dict[str, torch.Tensor]:
    if isinstance(unit, Copy):
        return blocks[0]
    results = apply(unit, [*blocks])
    if results.keys() != set(unit.tensors):
        odd = min(results.keys() ^ set(unit.tensors))
        raise InternalError("a method must return exactly the tensors of its unit", where=f"{unit.name}: {odd}")
    return results


def _check_disjoint(donor: Source, units: Sequence[Unit]) -> None:
    seen: dict[str, str] = {}
    for unit in units:
        for name in unit.tensors:
            if name in seen or name not in donor.tensors:
                other = seen.get(name, "no tensor of the first source")
                raise InternalError(f"tensor {name} is in {other} and in {unit.name}")
            seen[name] = unit.name
