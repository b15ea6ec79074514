"""What a task does: the same calls as an audit in one process makes, so its rows are the same bit for bit."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from mergebarrier.audit import curves, standalone
from mergebarrier.audit.bench import AuditSpec, Bench, searched
from mergebarrier.audit.ladder import CONTROL, LevelContext, climb, place_of, states, tried
from mergebarrier.audit.models import check_models
from mergebarrier.audit.run import context_of, text_of
from mergebarrier.audit.work.plan import (
    CHUNK,
    SINGLE,
    UNPROTECTED,
    Kind,
    PlannedTask,
    WorkPlan,
    level_of,
    levels_of,
    plan_of,
    tasks_of,
)
from mergebarrier.results import Cell, Measurement

#: A piece of a task: at most one row, unless it depends on rows before it.
Piece = Callable[[], object]


class RowAsked(Exception):
    """A row would be measured here; its name."""


class Listing:
    """A journal in which nothing is finished: it names the row that would be measured, and stops there."""

    def find(self, row_id: str) -> Cell | Measurement | None:
        """Raise RowAsked with the name of the row."""
        raise RowAsked(row_id)

    def add(self, row: Cell | Measurement) -> None:
        """Take nothing: nothing is measured."""

    @property
    def used(self) -> list[Cell | Measurement]:
        """No rows."""
        return []


def make_plan(spec: AuditSpec, threads: int) -> WorkPlan:
    """Open the models of an audit and cut it into tasks, with the names of the rows that are known by now."""
    with ExitStack() as stack:
        bench = Bench(spec, Listing(), lambda line: None, stack, states=states())
        check_models(bench)
        tasks = [_listed(bench, task) for task in tasks_of(spec)]
        return plan_of(spec, tasks, bench.checkpoints, threads)


def _listed(bench: Bench, task: PlannedTask) -> PlannedTask:
    """Name the rows of a task that depend on no other row."""
    names = []
    for piece in () if task.needs else pieces(bench, task):
        try:
            piece()
        except RowAsked as asked:
            names.append(str(asked))
    return replace(task, rows=tuple(names))


def pieces(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    """Yield the pieces of a task, the model of its state open."""
    if task.of not in (UNPROTECTED, *bench.checkpoints):
        prepare = level_of(bench.spec, task.of).prepare
        if prepare is not None:
            yield partial(prepare, bench)
    yield from _KINDS[task.kind](bench, task)


def _single(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    yield partial(bench.reference, task.of)


def _model(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    yield from ()


def _grid(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    place = CONTROL if task.of == UNPROTECTED else place_of(level_of(bench.spec, task.of))
    for setting in bench.spec.settings:
        if setting.merge == task.part:
            yield partial(place.as_published, bench, setting)


def _trials(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    searching = [level for level in levels_of(bench.spec) if level.searches and level.state == task.of]
    place, first = CONTROL if task.of == UNPROTECTED else place_of(searching[0]), int(task.part)
    for setting in searched(bench.spec.search_budget)[first : first + CHUNK]:
        yield partial(place.as_searched, bench, setting, "validation")


def _curve(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    yield partial(curves.walk, bench, task.of)


def _outputs(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    yield partial(standalone.standalone, bench, text_of(bench.spec))


def _recovered(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    whole = level_of(bench.spec, task.of).preserves_function
    yield partial(standalone.recovered, bench, task.of, text_of(bench.spec), preserves_function=whole)


def _search(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    level = next(level for level in levels_of(bench.spec) if str(level.number) == task.part)
    place, context = CONTROL if task.of == UNPROTECTED else place_of(level), _context(bench)
    yield partial(tried, bench, context, place, level.settings(bench, context), level)


def _climb(bench: Bench, task: PlannedTask) -> Iterator[Piece]:
    yield partial(climb, level_of(bench.spec, task.of, task.part), bench, _context(bench))


def _context(bench: Bench) -> LevelContext:
    return context_of({role: bench.reference(role) for role in SINGLE})[0]


_KINDS: Final[dict[Kind, Callable[[Bench, PlannedTask], Iterator[Piece]]]] = {
    "single": _single,
    "model": _model,
    "grid": _grid,
    "trials": _trials,
    "curve": _curve,
    "outputs": _outputs,
    "recovered": _recovered,
    "search": _search,
    "climb": _climb,
}
