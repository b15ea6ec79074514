"""Run an audit from the single models to the grade; refuse early where nothing could be measured.

    single models -> unprotected control -> levels, lowest first -> the published attack and comparisons, for display
    -> barrier curves -> outputs of single models -> controls -> grade

The audit does no I/O of its own: models are read and written by ``checkpoint`` through ``verbs``, rows kept by the
journal that the caller gives.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from mergebarrier import __version__
from mergebarrier.audit import curves
from mergebarrier.audit import standalone as _alone
from mergebarrier.audit.bench import (
    OURS,
    TASKS,
    THEIRS,
    AuditSpec,
    Bench,
    MeasurementJournal,
    check_measurable,
    declared_by,
    grade,
    owners_figures,
    protection_of,
    reference_of,
    scale,
    searched,
)
from mergebarrier.audit.ladder import (
    CONTROL_PART,
    LAST,
    LEVELS,
    Attempt,
    Evidence,
    Found,
    LevelContext,
    checked,
    climb,
    compare,
    control,
    forecast,
    part_of,
    shown_beside,
    states,
    summary,
    trained_notes,
)
from mergebarrier.audit.metrics import price_notes, scale_curve
from mergebarrier.audit.models import check_models
from mergebarrier.progress import counted
from mergebarrier.results import Barrier, Control, LevelResult, Reference, Result, ScaleCurve, Scales, Skill, Standalone

_SINGLE = ("base", "original", "protected", "partner")


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Everything that an audit measured, before it is graded."""

    references: Mapping[str, Reference]
    standalone: Standalone
    levels: tuple[LevelResult, ...]
    extras: tuple[LevelResult, ...]
    barrier: Barrier
    controls: Mapping[str, Control]
    scale: Mapping[str, ScaleCurve]


def run_audit(
    spec: AuditSpec,
    journal: MeasurementJournal,
    *,
    say: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[Mapping[str, object]], None] = lambda document: None,
) -> Result:
    """Audit a protection.

    Args:
      spec:        what to audit and how far; its work folder must exist.
      journal:     finished rows; what it holds already is not measured again.
      say:         called with one line per piece of work.
      environment: what to note about the machine (versions, threads, the date).
      watch:       called every few seconds with how far it is.
    Returns: Result; the rows behind it are ``journal.used``.
    Raises:  NotMeasurable when the experts have no skill or the unprotected merge does not work; BadTask, BadText,
             CheckpointError, ArchError, MergeError, RealignError; UsageError for a level that is not built.  Rows
             finished by then stay finished.
    """
    spec = replace(spec, levels=checked(spec.levels))
    with ExitStack() as stack:
        bench = Bench(spec, journal, say, stack, states=states())
        bench.meter.watch = watch
        check_models(bench)
        text = text_of(spec)
        skills = {role: bench.reference(role) for role in _SINGLE}
        context, references = context_of(skills)
        bench.meter.forecasts = forecast(bench, [*(LEVELS[level] for level in spec.levels), *shown_beside(spec)])
        bench.meter.begin(CONTROL_PART)
        theirs = control(bench, context)
        check_measurable(theirs.test, context.scales, context.trivial)
        attempts = list(_climbed(bench, context))
        shown = _shown(bench, context, theirs)
        bench.meter.begin(LAST)
        barrier = curves.barrier(bench, [attempt.level.state for attempt in attempts if attempt.level.prepare])
        standalone = _alone.standalone(bench, text)
        graded = tuple(_summary(bench, context, attempt, text) for attempt in attempts)
        checks = _checks(bench, context, theirs, standalone, graded)
        measured = _Measured(
            references=references,
            standalone=standalone,
            levels=graded,
            extras=tuple(_summary(bench, context, attempt, text) for attempt in shown),
            barrier=barrier,
            controls=checks,
            scale={role: scale_curve(bench, role) for role in ("original", "protected") if spec.scale},
        )
        return _result(bench, context, measured, environment or {})


def _climbed(bench: Bench, context: LevelContext) -> Iterator[Attempt]:
    """Run the levels, lowest first, until no budget is left for the next; those above it need it."""
    for number in bench.spec.levels:
        part = part_of(LEVELS[number])
        if number and not bench.meter.afford(part, bench.meter.forecasts[part], "; so are the levels above it"):
            bench.spec = replace(bench.spec, levels=tuple(range(number)))
            return
        yield climb(LEVELS[number], bench, context)


def text_of(spec: AuditSpec) -> str | None:
    """Return the plain prose of an audit, None where it has none; BadText."""
    from mergebarrier.evaluate import read_text

    return None if spec.text is None else read_text(spec.text)


def context_of(skills: Mapping[str, Mapping[str, Skill]]) -> tuple[LevelContext, dict[str, Reference]]:
    """Fix what skills of 0 and 1 mean, and what the best single model reaches."""
    scales = Scales(
        protected=scale(skills["base"][OURS], skills["original"][OURS], task="the protected expert's task"),
        partner=scale(skills["base"][THEIRS], skills["partner"][THEIRS], task="the partner's task"),
    )
    references = {
        role: reference_of(found, scales.utility(*(found[task].rate for task in TASKS)))
        for role, found in skills.items()
    }
    trivial = max(references[role].utility for role in ("base", "protected", "partner"))
    return LevelContext(scales=scales, trivial=trivial), references


def _shown(bench: Bench, context: LevelContext, theirs: Found) -> list[Attempt]:
    """Run what is shown but not graded: further attacks, and other protections of the same original."""
    shown = [climb(level, bench, context) for level in shown_beside(bench.spec)]
    for number, path in enumerate(bench.spec.comparisons, 1):
        role = f"comparison {number}"
        bench.admit(role, path)
        shown.append(compare(bench, role, protection_of(bench.checkpoints[role])[0], theirs.test))
    return shown


def _summary(bench: Bench, context: LevelContext, attempt: Attempt, text: str | None) -> LevelResult:
    level, recovered = attempt.level, None
    if level.prepare is not None:
        recovered = _alone.recovered(bench, level.state, text, preserves_function=level.preserves_function)
    return summary(attempt, context, bench.n_weights, recovered)


def _checks(
    bench: Bench, context: LevelContext, theirs: Found, standalone: Standalone, graded: Sequence[LevelResult]
) -> dict[str, Control]:
    """Run the checks of every level that was run."""
    checks = {}
    for level in graded:
        found = Evidence(bench=bench, context=context, unprotected=theirs, standalone=standalone, level=level)
        for name, check in LEVELS[level.level].checks.items():
            outcome = check(found)
            if outcome is not None:
                checks[name] = outcome
    return checks


def _result(bench: Bench, context: LevelContext, measured: _Measured, environment: Mapping[str, str]) -> Result:
    method, parameters = protection_of(bench.checkpoints["protected"])
    protection = declared_by(method)
    verdict = grade({level.level: level.ruf for level in measured.levels})
    return Result(
        version=__version__,
        method=method,
        method_parameters=parameters,
        method_keyed=None if protection is None else protection.keyed,
        method_limit="" if protection is None else protection.limit,
        models={role: bench.model(role) for role in _SINGLE},
        tasks=bench.tasks,
        standalone=measured.standalone,
        references=dict(measured.references),
        trivial_utility=context.trivial,
        states=states(),
        levels=measured.levels,
        extras=measured.extras,
        barrier=measured.barrier,
        ruf_max=max(level.ruf for level in measured.levels),
        grade=verdict.grade,
        grade_level=verdict.level,
        grade_final=verdict.final,
        controls=dict(measured.controls),
        seed=bench.spec.seed,
        environment={**environment, "dtype": bench.dtype},
        notes=_notes(bench, measured),
        scale=dict(measured.scale),
        trained=owners_figures(bench.checkpoints["protected"]),
    )


def _notes(bench: Bench, measured: _Measured) -> tuple[str, ...]:
    notes, graded = list(price_notes(measured.levels, measured.extras, bench.n_weights)), measured.levels
    notes += bench.meter.left_out
    if bench.spec.validation is None or bench.spec.partner_validation is None:
        notes.append(
            "Where no validation file was given, settings were chosen on the first half of the task file and scores "
            "stand on the second half."
        )
    original = bench.digest("original")
    for level in graded:
        if level.recovered is not None and bench.digest(level.state) == original:
            notes.append(f"What {level.attack} recovered are the original's weights, bit for bit.")
    every = len(searched(sys.maxsize))
    if 1 in bench.spec.levels and bench.spec.search_budget < every:
        tried = bench.spec.search_budget
        notes.append(f"The search over two coefficients tried {tried} of its {every} settings, as --budget allows.")
    method = protection_of(bench.checkpoints["protected"])[0]
    notes += trained_notes(bench, measured.levels, method)
    for task in bench.tasks.values():
        if task.test_distinct != task.test_items:
            rows = counted(task.test_items, task.test_distinct, "test rows")
            notes.append(f"{task.name}: {rows}; each counts, so its intervals are narrower than they should be.")
    if bench.spec.text is None:
        notes.append("No plain text was given: outputs were compared on the test rows, and there is no perplexity.")
    return tuple(notes)
