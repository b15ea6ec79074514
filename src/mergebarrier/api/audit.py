"""``audit``: merge and attack a protected model, grade what is left of the protection, and write one honest report.

protected, original, base, partner and their tasks  ->  result, rows, grade
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

from mergebarrier.api.audited import AuditReport, AuditRun, WorkReport, audited, planned_work
from mergebarrier.api.base import Model, Report, WriteOptions, command_line, resolve, resolve_all, shown
from mergebarrier.audit import AuditOptions, AuditSpec, levels_from, planned
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.evaluate import device_named
from mergebarrier.progress import Progress

File: TypeAlias = str | os.PathLike[str]


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
    spec = _spec(chosen, models, (Path(task), Path(partner_task)), download=download)
    given = {"--original": original, "--base": base, "--partner": partner}
    rows = {"--task": task, "--partner-task": partner_task, "--validation": chosen.validation}
    rows |= {"--partner-validation": chosen.partner_validation, "--text": chosen.text}
    more = {
        "--second-key": chosen.second_key,
        "--twin": chosen.twin,
        "--wrong-base": chosen.wrong_base,
        "--public": chosen.public,
        "--compare": chosen.compare,
        "--dtype": chosen.dtype,
    }
    more |= {
        "--device": chosen.device if chosen.device != "cpu" else None,
        "--batch-tokens": _said(chosen.batch_tokens),
    }
    seed = {"--seed": chosen.seed, "-o": out}
    typed = command_line("audit", protected, {**given, **rows, **more, **seed}, chosen)
    with shown(progress, "auditing") as step:
        run = AuditRun(command=typed, engine=chosen.engine, progress=step)
        return audited(spec, _path(out), write, say, run)


def plan_work(
    protected: Model,
    *,
    original: Model,
    base: Model,
    partner: Model,
    task: File,
    partner_task: File,
    out: File,
    options: AuditOptions | None = None,
    write: WriteOptions | None = None,
    download: bool = False,
) -> WorkReport:
    """Write the plan of an audit into its report folder, for ``worker`` on any machine that shares the folder.

    Arguments and errors are those of ``audit``, which puts the rows together when it is called with ``resume``.
    """
    chosen = options or AuditOptions()
    models = resolve_all((protected, original, base, partner), download=download)
    spec = _spec(chosen, models, (Path(task), Path(partner_task)), download=download)
    return planned_work(spec, Path(out), write or WriteOptions())


def _spec(
    chosen: AuditOptions, models: Sequence[Path | Checkpoint], tasks: tuple[Path, Path], *, download: bool
) -> AuditSpec:
    """Return what is audited: protected, original, base and partner, on the tasks of the first and of the last."""
    device_named(chosen.device)  # a device that is not there is refused before a report folder is made
    return AuditSpec(
        protected=models[0],
        original=models[1],
        base=models[2],
        partner=models[3],
        task=tasks[0],
        partner_task=tasks[1],
        work=Path(),
        validation=_path(chosen.validation),
        partner_validation=_path(chosen.partner_validation),
        text=_path(chosen.text),
        settings=chosen.settings,
        levels=_levels(chosen),
        search_budget=chosen.budget,
        smooth_evaluations=chosen.smooth,
        edit_evaluations=chosen.edits,
        learn_steps=chosen.learn,
        rebasin_steps=chosen.rebasin,
        recover_samples=chosen.recover,
        block_steps=chosen.blocks,
        distil_samples=chosen.distil,
        scale=chosen.scale,
        sibling=chosen.sibling,
        weighted=chosen.weighted,
        publics=resolve_all(chosen.public, download=download),
        max_items=chosen.max_items,
        second=None if chosen.second_key is None else resolve(chosen.second_key, download=download),
        twin=None if chosen.twin is None else resolve(chosen.twin, download=download),
        wrong_base=None if chosen.wrong_base is None else resolve(chosen.wrong_base, download=download),
        comparisons=resolve_all(chosen.compare, download=download),
        dtype=chosen.dtype,
        device=chosen.device,
        batch_tokens=chosen.batch_tokens,
        budget_seconds=chosen.budget_seconds,
        budget_evaluations=chosen.budget_evaluations,
        budget_tokens=chosen.budget_tokens,
        seed=chosen.seed,
    )


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
        edit_evaluations=chosen.edits,
        learn_steps=chosen.learn,
        rebasin_steps=chosen.rebasin,
        recover_samples=chosen.recover,
        block_steps=chosen.blocks,
        distil_samples=chosen.distil,
        scale=chosen.scale,
        sibling=chosen.sibling,
        weighted=chosen.weighted,
        publics=(nothing,) * len(chosen.public),
        second=None if chosen.second_key is None else nothing,
        twin=None if chosen.twin is None else nothing,
        wrong_base=None if chosen.wrong_base is None else nothing,
    )
    return AuditPlan(counts=planned(spec))


def _said(number: int | None) -> str | None:
    return None if number is None else str(number)


def _levels(options: AuditOptions) -> tuple[int, ...]:
    return levels_from(options.levels) if options.levels else ()


def _path(file: File | None) -> Path | None:
    return None if file is None else Path(file)
