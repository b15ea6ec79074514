"""Run an audit from the single models to the grade; refuse early where nothing could be measured.

    single models -> unprotected control -> levels, lowest first -> the published attack and comparisons, for display
    -> barrier curves -> outputs of single models -> controls -> grade

The audit does no I/O of its own: models are read and written by ``checkpoint`` through ``verbs``, rows kept by the
journal that the caller gives.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from mergebarrier import __version__
from mergebarrier.audit import controls, curves
from mergebarrier.audit import standalone as _alone
from mergebarrier.audit.bench import (
    OURS,
    TASKS,
    THEIRS,
    AuditSpec,
    Bench,
    Journal,
    check_measurable,
    grade,
    reference_of,
    scale,
)
from mergebarrier.audit.ladder import Attempt, Context, levels
from mergebarrier.results import Barrier, Control, Level, Reference, Result, Scales, Skill, Standalone

_SHOWN_PARAMETERS = ("profile", "only", "condition", "flip_fraction", "form")
_SINGLE = ("base", "original", "protected", "partner")


def run_audit(
    spec: AuditSpec,
    journal: Journal,
    *,
    say: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """Audit a protection.

    Args:
      spec:        what to audit and how far; its work folder must exist.
      journal:     finished rows; what it holds already is not measured again.
      say:         told one line per piece of work.
      environment: what to note about the machine (versions, threads, the date).
    Returns: Result; the rows behind it are ``journal.used``.
    Raises:  NotMeasurable when the experts have no skill or the unprotected merge does not work; BadTask, BadText,
             CheckpointError, ArchError, MergeError, RealignError.  Rows finished by then stay finished.
    """
    with ExitStack() as stack:
        bench = Bench(spec, journal, say, stack)
        text = _text(spec)
        skills = {role: bench.reference(role) for role in _SINGLE}
        context, references = _context(skills)
        theirs = levels.control(bench, context, search=False)
        check_measurable(theirs.test, context.scales, context.trivial)
        attempts = [levels.LEVELS[level](bench, context) for level in spec.levels]
        shown = _shown(bench, context, attempts)
        barrier = curves.barrier(bench, realigned=2 in spec.levels)
        standalone = _alone.standalone(bench, text)
        graded = tuple(_summary(bench, context, attempt, text) for attempt in attempts)
        checks = {
            "unprotected_merge": controls.unprotected_merge(theirs, context),
            "same_function": controls.same_function(standalone),
            "identity": controls.identity(bench),
        }
        checks |= _checks_of_realignment(bench, context, graded, standalone)
        extras = tuple(_summary(bench, context, attempt, text) for attempt in shown)
        return _result(bench, context, references, standalone, graded, extras, barrier, checks, environment or {})


def _text(spec: AuditSpec) -> str | None:
    from mergebarrier.evaluate import read_text

    return None if spec.text is None else read_text(spec.text)


def _context(skills: Mapping[str, Mapping[str, Skill]]) -> tuple[Context, dict[str, Reference]]:
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
    return Context(scales, trivial), references


def _shown(bench: Bench, context: Context, attempts: list[Attempt]) -> list[Attempt]:
    shown = []
    if any(attempt.level == 2 for attempt in attempts) and bench.spec.aga_settings > 0:
        shown.append(levels.published_attack(bench, context))
    for number, path in enumerate(bench.spec.comparisons, 1):
        role = f"comparison {number}"
        bench.admit(role, path)
        shown.append(levels.comparison(bench, context, role, _protection(bench, role)[0]))
    return shown


def _summary(bench: Bench, context: Context, attempt: Attempt, text: str | None) -> Level:
    recovered = None
    if attempt.role:
        exact = attempt.attack == "gaugefix"
        recovered = _alone.recovered(bench, attempt.role, text, preserves_function=exact)
    return levels.summary(attempt, context, bench.n_weights, recovered)


def _checks_of_realignment(
    bench: Bench, context: Context, graded: tuple[Level, ...], standalone: Standalone
) -> dict[str, Control]:
    undone = [level for level in graded if level.recovered is not None]
    if not undone:
        return {}
    theirs = levels.control(bench, context, search=False)
    checks = {
        "recovered_model_is_whole": controls.recovered_model_is_whole(undone[0], standalone),
        "realignment_is_harmless": controls.realignment_is_harmless(bench, theirs, context),
    }
    if bench.spec.second is not None:
        checks["two_keys"] = controls.two_keys(bench)
    return checks


def _result(
    bench: Bench,
    context: Context,
    references: dict[str, Reference],
    standalone: Standalone,
    graded: tuple[Level, ...],
    extras: tuple[Level, ...],
    barrier: Barrier,
    checks: dict[str, Control],
    environment: Mapping[str, str],
) -> Result:
    method, parameters = _protection(bench, "protected")
    verdict = grade({level.level: level.ruf for level in graded})
    notes = []
    if bench.spec.validation is None or bench.spec.partner_validation is None:
        notes.append(
            "Where no validation file was given, settings were chosen on the first half of the task file and scores "
            "stand on the second half."
        )
    if 2 in bench.spec.levels and bench.digest("gaugefix") == bench.digest("original"):
        notes.append("What gaugefix recovered are the original's weights, bit for bit.")
    if bench.spec.text is None:
        notes.append("No plain text was given: outputs were compared on the test rows, and there is no perplexity.")
    return Result(
        version=__version__,
        method=method,
        method_parameters=parameters,
        models={role: bench.model(role) for role in _SINGLE},
        tasks=bench.tasks,
        standalone=standalone,
        references=references,
        trivial_utility=context.trivial,
        levels=graded,
        extras=extras,
        barrier=barrier,
        ruf_max=max(level.ruf for level in graded),
        grade=verdict.grade,
        grade_level=verdict.level,
        grade_final=verdict.final,
        controls=checks,
        seed=bench.spec.seed,
        environment={**environment, "dtype": bench.dtype},
        notes=tuple(notes),
    )


def _protection(bench: Bench, role: str) -> tuple[str, dict[str, Any]]:
    """Return method and plain parameters from the manifest of a protected model."""
    from mergebarrier.checkpoint import MANIFEST_NAME, read_manifest

    folder = bench.checkpoints[role].path
    content = read_manifest(folder)["content"] if (folder / MANIFEST_NAME).exists() else {}
    if content.get("verb") != "protect":
        return "unknown", {}
    shown = {name: content["parameters"].get(name) for name in _SHOWN_PARAMETERS}
    plain = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in shown.items()
        if value is not None and not isinstance(value, dict) and (name, value) != ("condition", 1.0)
    }
    return str(content["method"]), plain
