"""An audit that is fully specified, run by an engine, or cut into tasks for workers elsewhere.

plan  ->  rows of its tasks, measured anywhere  ->  the audit finds them by name, measures what is left, and reports
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.api.base import CountedJournal, MemoryJournal, Report, ResultReport, Row, WriteOptions, begun, machine
from mergebarrier.audit import AuditSpec, planned, run_audit
from mergebarrier.errors import OutputExists
from mergebarrier.progress import Progress
from mergebarrier.results import Cell, Result, Skill, scales_of

if TYPE_CHECKING:
    from mergebarrier.report import Journal


@dataclass(frozen=True, kw_only=True)
class AuditReport(ResultReport):
    """What an audit found: the result, its rows as a table, and where its page is."""

    kind: ClassVar[str] = "audit"

    result: Result

    def rows(self) -> Sequence[Row]:
        """Return one row per merge that was scored, with its utility."""
        scales = scales_of(self.result.references)
        return [
            {
                "state": cell.state,
                "level": cell.level,
                "attack": cell.attack,
                "split": cell.split,
                "merge": cell.merge,
                **{name: cell.coefficients.get(name) for name in ("coefficient", "protected", "partner")},
                **_skill("skill_protected", cell.skill_protected),
                **_skill("skill_partner", cell.skill_partner),
                "utility": scales.of(cell),
                "nll_nats": cell.nll_nats,
                "tokens": cell.tokens,
                "seconds": cell.seconds,
            }
            for cell in self.records
            if isinstance(cell, Cell)
        ]


@dataclass(frozen=True, kw_only=True)
class WorkReport(Report):
    """The plan of an audit: its file, how many tasks it has, and which of them may run side by side.

    Attributes:
      plan:   the file, for ``worker``.
      tasks:  what each does.
      stages: first and last task of each stage; a stage begins when the one before it is finished.
    """

    kind: ClassVar[str] = "work"

    plan: str
    tasks: list[str]
    stages: list[list[int]]

    def lines(self) -> str:
        """Return what a person reads."""
        stages = (f"stage {n}: tasks {', '.join(map(str, found))}" for n, found in enumerate(self.stages))
        return "\n".join((f"{self.plan}: {len(self.tasks)} tasks", *stages))


@dataclass(frozen=True, kw_only=True)
class WorkerReport(Report):
    """What a worker did: which task, in a few words, and how many rows it used."""

    kind: ClassVar[str] = "worker"

    task: int
    label: str
    n_rows: int


@dataclass(frozen=True, kw_only=True)
class AuditRun:
    """How an audit is run; nothing here changes a figure.

    Attributes:
      command:  what makes the report again.
      engine:   "serial", "process" or "ray".
      keep:     where realigned models stay; without one they are removed once the report is written.
      progress: as in ``audit``.
    """

    command: str = ""
    engine: str = "serial"
    keep: Path | None = None
    progress: Progress = lambda done, total: None


def audited(
    spec: AuditSpec, out: Path | None, write: WriteOptions, say: Callable[[str], None], run: AuditRun
) -> AuditReport:
    """Run an audit that is fully specified.

    Args:
      spec:  what to audit; where it works and with how many workers is set here.
      out:   report folder, None to keep nothing.
      write: how it is written.
      say:   called with one line per finished piece of work.
      run:   how it is run.
    """
    import torch

    from mergebarrier.checkpoint import remove_tree
    from mergebarrier.engines import finished_rows
    from mergebarrier.report import WORK, write_progress, write_report

    if out is not None:
        _check_work(out / WORK)
    expected = _expected(spec)
    work = run.keep if run.keep is not None or out is None else out / WORK
    with _journal(spec, out, write) as kept, _workplace(work) as folder:
        journal = CountedJournal(kept, run.progress, expected)
        spec = replace(spec, work=folder, workers=write.workers, max_ram_bytes=write.max_ram_bytes)
        _side_by_side(spec, write, say, run.engine)
        kept.adopt(finished_rows(folder))
        watch = partial(write_progress, folder)
        found = run_audit(spec, journal, say=say, environment=machine(torch.get_num_threads()), watch=watch)
        result = replace(found, command=run.command)
        if out is not None:
            write_report(out, result, journal.used)
    if work is not None and run.keep is None:
        # Only now: an audit that was interrupted finds its realigned models again.
        with suppress(OSError):
            remove_tree(work)
    run.progress(expected, expected)
    page = None if out is None else out / "report.html"
    return AuditReport(result=result, records=tuple(journal.used), page=page)


def _journal(
    spec: AuditSpec, out: Path | None, write: WriteOptions
) -> "AbstractContextManager[Journal | MemoryJournal]":
    """Return what keeps the rows: the report folder, or nothing where there is none."""
    if out is None:
        return nullcontext(MemoryJournal())
    models = (spec.protected, spec.original, spec.base, spec.partner)
    inputs = [one if isinstance(one, Path) else one.root for one in models]
    return begun(out, inputs, resume=write.resume, overwrite=write.overwrite)


def _side_by_side(spec: AuditSpec, write: WriteOptions, say: Callable[[str], None], engine: str) -> None:
    """Let an engine measure the rows of a plan; rows of tasks stay from a run that is resumed, and from no other."""
    import torch

    from mergebarrier.checkpoint import remove_tree
    from mergebarrier.engines import TASKS, performed, prepared

    if not write.resume and (spec.work / TASKS).is_dir():
        remove_tree(spec.work / TASKS)
    if engine != "serial":
        threads = max(1, torch.get_num_threads() // write.workers)
        performed(prepared(replace(spec, workers=1), threads), engine, write.workers, say)


def planned_work(spec: AuditSpec, out: Path, write: WriteOptions) -> WorkReport:
    """Write the plan of an audit into its report folder."""
    import torch

    from mergebarrier.engines import prepared, read_plan
    from mergebarrier.report import WORK

    _check_work(out / WORK)
    with _journal(spec, out, write):
        spec = replace(spec, work=out / WORK, workers=1, max_ram_bytes=write.max_ram_bytes)
        path = prepared(spec, torch.get_num_threads())
    tasks = read_plan(path).tasks
    order = sorted({task.stage for task in tasks})
    stages = [[task.index for task in tasks if task.stage == stage] for stage in order]
    return WorkReport(plan=str(path), tasks=[task.label for task in tasks], stages=stages)


def worker(plan: Path, task: int, *, say: Callable[[str], None] = lambda line: None) -> WorkerReport:
    """Do one task of a plan, or the rest of it.

    Args:
      plan: the file that ``plan_work`` wrote.
      task: its number, from 0.
      say:  called with one line per finished piece of work.
    Raises: UsageError where the plan has no such task, or it needs one that is not finished; BadReport for a plan that
            cannot be read or whose models have changed; what ``audit`` raises.
    """
    import torch

    from mergebarrier.engines import Performer, read_plan

    torch.set_num_threads(read_plan(plan).threads)
    with Performer(plan, say) as performer:
        label = performer.task(task).label
        return WorkerReport(task=task, label=label, n_rows=performer.perform(task))


def _expected(spec: AuditSpec) -> int:
    """Estimate the rows of an audit: merges, points of curves, and a dozen scores and comparisons of single models."""
    counts = planned(spec)
    names = ("cells on test rows", "cells on validation rows", "searches part by part", "points of barrier curves")
    return 12 + sum(count for name in names if isinstance(count := counts[name], int))


def _check_work(work: Path) -> None:
    """Refuse a work folder with anything in it that no audit keeps there: it is removed once the report is written.

    Raises: OutputExists.
    """
    from mergebarrier.checkpoint import MANIFEST_NAME
    from mergebarrier.engines import PLAN, TASKS
    from mergebarrier.report import PROGRESS

    if not work.is_dir() or work.is_symlink():  # a link is refused as everywhere in a report
        return
    files = (PLAN, PROGRESS, *(f".{name}.new" for name in (PLAN, PROGRESS)))
    tasks = [*(work / TASKS).iterdir()] if (work / TASKS).is_dir() else []
    for path in sorted([*work.iterdir(), *tasks]):
        if path.is_dir() and not path.is_symlink():
            ends = path.name == TASKS or path.name.endswith((".partial", ".replaced"))
            kept = ends or (path / MANIFEST_NAME).exists() or not any(path.iterdir())
        else:
            kept = path.is_file() and not path.is_symlink() and (path.parent != work or path.name in files)
        if not kept:
            what, remedy = "an audit works here, and did not write this", "move it elsewhere, or choose another folder"
            raise OutputExists(what, where=path, remedy=remedy)


@contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    """Give a folder for realigned models: the given one, which stays, or one that is gone afterwards."""
    if folder is not None:
        folder.mkdir(exist_ok=True)
        yield folder
        return
    with TemporaryDirectory(prefix="mergebarrier-") as temporary:
        yield Path(temporary)


def _skill(name: str, skill: Skill) -> dict[str, float]:
    return {name: skill.rate, f"{name}_low": skill.low, f"{name}_high": skill.high}
