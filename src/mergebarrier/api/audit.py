"""``audit``: merge and attack a protected model, grade what is left of the protection, and write one honest report.

protected, original, base, partner and their tasks  ->  result, rows, grade
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, TypeAlias

from mergebarrier.api.base import (
    CountedJournal,
    MemoryJournal,
    Model,
    Report,
    ResultReport,
    Row,
    WriteOptions,
    command_line,
    machine,
    resolve,
    resolve_all,
    shown,
)
from mergebarrier.audit import (
    AuditOptions,
    AuditSpec,
    levels_from,
    planned,
    run_audit,
)
from mergebarrier.progress import Progress
from mergebarrier.results import Cell, Result, Skill, scales_of

File: TypeAlias = str | os.PathLike[str]


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
class AuditPlan(Report):
    """How much work an audit is: counts of merges, of points on curves, and of models to realign."""

    kind: ClassVar[str] = "plan"

    counts: dict[str, object]

    def document(self) -> dict[str, object]:
        """Return the counts."""
        return self.counts


def audit(
    protected: Model,
    *,
    original: Model,
    base: Model,
    partner: Model,
    task: File,
    partner_task: File,
    out: File | None = None,
    options: AuditOptions | None = None,
    write: WriteOptions | None = None,
    download: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit a protection.

    Args:
      protected:    the model to attack.
      original:     what it was made from.
      base:         the public base of both experts.
      partner:      another expert of that base, to merge with.
      task:         test rows of the protected expert's task, a JSON Lines file of prompts and answers.
      partner_task: the same for the partner's task.
      out:          report folder; without one nothing is kept.
      options:      how far the audit goes.
      write:        how the folder is written; ``resume`` finds the rows that are finished.
      download:     fetch models that the local cache lacks.
      say:          called with one line per finished piece of work.
      progress:     called with (rows used, rows expected); the latter is an estimate.
    Raises: NotMeasurable where the experts have no skill or the unprotected merge does not work; BadTask, BadText,
            OutputExists, CheckpointError, ArchError, UsageError.
    """
    chosen, write = options or AuditOptions(), write or WriteOptions()
    models = resolve_all((protected, original, base, partner), download=download)
    spec = AuditSpec(
        protected=models[0],
        original=models[1],
        base=models[2],
        partner=models[3],
        task=Path(task),
        partner_task=Path(partner_task),
        work=Path(),
        validation=_path(chosen.validation),
        partner_validation=_path(chosen.partner_validation),
        text=_path(chosen.text),
        settings=chosen.settings,
        levels=_levels(chosen),
        search_budget=chosen.budget,
        smooth_evaluations=chosen.smooth,
        learn_steps=chosen.learn,
        max_items=chosen.max_items,
        second=None if chosen.second_key is None else resolve(chosen.second_key, download=download),
        comparisons=resolve_all(chosen.compare, download=download),
        dtype=chosen.dtype,
        seed=chosen.seed,
    )
    given = {"--original": original, "--base": base, "--partner": partner}
    rows = {"--task": task, "--partner-task": partner_task, "--validation": chosen.validation}
    rows |= {"--partner-validation": chosen.partner_validation, "--text": chosen.text}
    more = {"--second-key": chosen.second_key, "--compare": chosen.compare, "--dtype": chosen.dtype}
    seed = {"--seed": chosen.seed, "-o": out}
    typed = command_line("audit", protected, {**given, **rows, **more, **seed}, chosen)
    with shown(progress, "auditing") as step:
        return audited(spec, _path(out), write, say, command=typed, progress=step)


def plan_audit(options: AuditOptions | None = None) -> AuditPlan:
    """Return how much work an audit with these options is, without doing any of it; UsageError as ``audit``."""
    chosen, nothing = options or AuditOptions(), Path()
    spec = AuditSpec(
        protected=nothing,
        original=nothing,
        base=nothing,
        partner=nothing,
        task=nothing,
        partner_task=nothing,
        work=nothing,
        settings=chosen.settings,
        levels=_levels(chosen),
        search_budget=chosen.budget,
        smooth_evaluations=chosen.smooth,
        learn_steps=chosen.learn,
        second=None if chosen.second_key is None else nothing,
    )
    return AuditPlan(counts=planned(spec))


def audited(
    spec: AuditSpec,
    out: Path | None,
    write: WriteOptions,
    say: Callable[[str], None],
    *,
    command: str = "",
    keep: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> AuditReport:
    """Run an audit that is fully specified.

    Args:
      spec:  what to audit; where it works and with how many workers is set here.
      out:   report folder, None to keep nothing.
      write: how it is written.
      say:   called with one line per finished piece of work.
      command: what makes the report again.
      keep:  where realigned models stay; without one they are removed once the report is written.
      progress: as in ``audit``.
    """
    import torch

    from mergebarrier.checkpoint import remove_tree
    from mergebarrier.report import WORK, Journal, write_report

    kept = MemoryJournal() if out is None else Journal.open(out, resume=write.resume, overwrite=write.overwrite)
    expected = _expected(spec)
    journal = CountedJournal(kept, progress, expected)
    work = keep if keep is not None or out is None else out / WORK
    with _workplace(work) as folder:
        spec = replace(spec, work=folder, workers=write.workers, max_ram_bytes=write.max_ram_bytes)
        found = run_audit(spec, journal, say=say, environment=machine(torch.get_num_threads()))
        result = replace(found, command=command)
        if out is not None:
            write_report(out, result, journal.used)
    if work is not None and keep is None:
        # Only now: an audit that was interrupted finds its realigned models again.
        with suppress(OSError):
            remove_tree(work)
    progress(expected, expected)
    page = None if out is None else out / "report.html"
    return AuditReport(result=result, records=tuple(journal.used), page=page)


def _expected(spec: AuditSpec) -> int:
    """Estimate the rows of an audit: merges, points of curves, and a dozen scores and comparisons of single models."""
    counts = planned(spec)
    names = ("cells on test rows", "cells on validation rows", "searches part by part", "points of barrier curves")
    return 12 + sum(count for name in names if isinstance(count := counts[name], int))


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


def _levels(options: AuditOptions) -> tuple[int, ...]:
    return levels_from(options.levels) if options.levels else ()


def _path(file: File | None) -> Path | None:
    return None if file is None else Path(file)
