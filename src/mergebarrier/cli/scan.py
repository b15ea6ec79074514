"""``mergebarrier scan``: check models before they are merged; report findings and what could not be checked."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._merge_options import acknowledge_option, hyper_parameters
from mergebarrier.cli._options import MODEL, WriterOptions, download_option, output_options, writer_options
from mergebarrier.cli._output import Output, tell
from mergebarrier.cli._parameters import CleanseOptions, cleanse_options
from mergebarrier.cli._scan_options import refuse_blind, text_scan_options
from mergebarrier.errors import (
    CheckpointError,
    ConfigMismatch,
    InternalError,
    MergebarrierError,
    ShapeMismatch,
    TensorSetMismatch,
    UsageError,
)
from mergebarrier.merge import MERGES

if TYPE_CHECKING:
    from mergebarrier.api import CleanseRequest, ScanReport
    from mergebarrier.merge import Merge

__all__ = ["CHECKS", "command"]

#: The keys of ``scan.CHECKS``, written here because the help text must not import torch; a test compares them.
CHECKS = (
    "folder",
    "relation",
    "task_vectors",
    "updates",
    "expert_patches",
    "whole_images",
    "merge_patches",
    "leave_out",
    "neural_cleanse",
    "collapse",
    "merge_collapse",
    "refusals",
    "merge_refusals",
)
FORMATS = ("text", "json", "sarif", "junit")
_DEFAULT = ",".join(name for name in CHECKS if name != "neural_cleanse")
_SEVERITIES = ("critical", "high", "medium", "low", "info")


@click.command()
@click.argument("models", nargs=-1, required=True, type=MODEL, metavar="MODEL...")
@click.option("--base", type=MODEL, help="The model that all were fine-tuned from; without it each is looked at alone.")
@click.option("--each", is_flag=True, help="MODEL is a folder of uploads: judge every folder in it, one by one.")
@click.option(
    "--baseline", type=MODEL, metavar="FILE", help="A report of scan --json; what it lists is known and does not fail."
)
@cleanse_options
@acknowledge_option
@click.option(
    "--merge", "method", type=click.Choice(list(MERGES)), metavar="METHOD", help="Also scan this merge of the models."
)
@click.option("--coefficient", type=float, metavar="L", help="Lambda of that merge.")
@click.option("--density", type=float, metavar="D", help="Density of that merge: kept fraction of each task vector.")
@click.option("--checks", metavar="NAME,...", help=f"[default: {_DEFAULT}; also neural_cleanse]")
@click.option(
    "--patch",
    type=float,
    metavar="F",
    help="Side of the patches to search for, as a fraction of the image's.  [default: 0.25]",
)
@click.option(
    "--leave-out",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="How many models to leave out at a time.",
)
@text_scan_options
@click.option(
    "--fail-on",
    type=click.Choice(_SEVERITIES),
    default="high",
    show_default=True,
    help="Exit with 1 for findings of this severity or above.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@download_option
@writer_options(require_out=False, what="With --cleanse: where the cured merge goes.")
@output_options
def command(
    models: tuple[Path, ...],
    base: Path | None,
    each: bool,
    baseline: Path | None,
    cleanse: CleanseOptions,
    acknowledge_licence: bool,
    method: str | None,
    checks: str | None,
    patch: float | None,
    leave_out: int,
    texts: dict[str, Any],
    fail_on: Any,
    form: str,
    download: bool,
    writer: WriterOptions,
    output: Output,
    **parameters: Any,
) -> int:
    """Report what is suspicious about MODEL..., alone, compared with each other, and as a merge.

    Everything in a folder is looked at; MODEL may be an adapter of peft, which is put on the base, or BASE+ADAPTER.
    With --base, models are compared with it and with each other; with --task, patches and changes of whole images that
    force a class are searched for, or inputs that collapse a language model's output; with --refusals, these are asked
    what they ought to refuse; with --merge too, the merge is looked at likewise; with --cleanse, it is cured.  No
    finding means only that these checks found nothing.  What could not be looked at is exit code 2, always.
    """
    from mergebarrier import api
    from mergebarrier.scan import Search

    output = output.printing(form)
    with _told(output, "" if output.json else form):
        chosen = None if checks is None else _chosen(checks)
        if chosen is not None:
            refuse_blind(chosen, based=base is not None, merged=method is not None, cleanse=cleanse, texts=texts)
        _refuse_strays(cleanse, method, acknowledge_licence, writer)
        merge = _merge(method, parameters, writer.seed)
        search = Search(seed=writer.seed) if patch is None else Search(side_frac=patch, seed=writer.seed)
        if leave_out == 2:
            _note_many(len(models), output)
        curing = None
        if cleanse.cure is not None and merge is not None:
            if base is None:
                raise UsageError("needs the base of the merge", where="--cleanse", remedy="give --base")
            cleanse.check()
            curing = api.CleanseRequest(
                models=models,
                base=base,
                tasks=cleanse.tasks,
                merge=merge,
                cure=cleanse.cure,
                search=search,
                refusals=cleanse.refusals,
                acknowledge_licence=acknowledge_licence,
                download=download,
            )
            # What an owner forbids is refused before any work; a folder that cannot be opened, or is of another shape,
            # is what the scan reports.
            with suppress(CheckpointError, TensorSetMismatch, ShapeMismatch, ConfigMismatch):
                api.check_cleanse(curing)
        if writer.dry_run:
            asked = {"models": models, "base": base, "checks": chosen or api.DEFAULT_CHECKS, "tasks": cleanse.tasks}
            output.plan(asked | {"merge": method, "cleanse": cleanse.cure, "out": writer.out})
            return 0
        with output.progress("scanning") as progress:
            report = api.scan(
                models,
                base=base,
                tasks=cleanse.tasks,
                merge=merge,
                checks=chosen,
                search=search,
                leave_out=leave_out,
                refusals=cleanse.refusals,
                **texts,
                fail_on=fail_on,
                baseline=baseline,
                each=each,
                workers=writer.workers,
                download=download,
                progress=progress,
            )
        shown = {"sarif": report.to_sarif, "junit": report.to_junit}.get("" if output.json else form)
        output.result(report, _text(report) if shown is None else shown().rstrip("\n"))
    for found in report.unseen:
        tell(f"error: {found.model}: {found.message}")
    if curing is not None:
        _cure(curing, writer, output)
    return report.exit_code


@contextmanager
def _told(output: Output, form: str) -> Iterator[None]:
    """Print a SARIF or JUnit document, which says why, also of a scan that could not be made."""
    from mergebarrier import api

    try:
        yield
    except Exception as fault:
        failed = {"sarif": api.failure_to_sarif, "junit": api.failure_to_junit}.get(form)
        if failed is not None:
            error = fault if isinstance(fault, MergebarrierError) else InternalError(f"{type(fault).__name__}: {fault}")
            output.result({}, failed(error).rstrip("\n"))
        raise


def _chosen(checks: str) -> tuple[str, ...]:
    chosen = tuple(name.strip() for name in checks.split(",") if name.strip())
    unknown = [name for name in chosen if name not in CHECKS]
    if unknown or not chosen:
        raise UsageError(
            f"no check {', '.join(unknown)!r}", where="--checks", remedy="choose from " + ", ".join(CHECKS)
        )
    return chosen


def _refuse_strays(cleanse: CleanseOptions, method: str | None, acknowledged: bool, writer: WriterOptions) -> None:
    """Refuse options that have no meaning without ``--cleanse``."""
    if (cleanse.cure is None) != (writer.out is None) or (cleanse.cure is not None and method is None):
        raise UsageError("--cleanse, --merge and -o go together", where="--cleanse", remedy="give all three or none")
    strays = {"--acknowledge-licence": acknowledged, "--resume": writer.resume, "--overwrite": writer.overwrite}
    stray = next((option for option, given in strays.items() if given), None)
    if stray is not None and cleanse.cure is None:
        raise UsageError("has no effect without --cleanse", where=stray, remedy="leave it out")


def _merge(method: str | None, parameters: dict[str, object], seed: int) -> "Merge | None":
    given = {name: value for name, value in parameters.items() if value is not None}
    if method is None:
        if given:
            raise UsageError(
                "has no effect without --merge", where="--" + next(iter(given)), remedy="give --merge, or leave it out"
            )
        return None
    from mergebarrier.merge import make

    values = {**given, **({"density": (given["density"],)} if "density" in given else {})}
    return make(method, **hyper_parameters(method, values, seed=seed, based=True))


def _note_many(n_models: int, output: Output) -> None:
    from mergebarrier.scan import MANY_PAIRS

    pairs = n_models * (n_models - 1) // 2
    if pairs > MANY_PAIRS:
        output.note(f"note: leaving out two of {n_models} models takes {pairs} merges")


def _cure(request: "CleanseRequest", writer: WriterOptions, output: Output) -> None:
    from mergebarrier import api

    with output.progress("merging") as progress:
        done = api.cleanse(request, writer.folder, write=writer.write(), progress=progress)
    output.note(f"note: {done.out} holds the merge after {done.cure}; scan it as a model of its own")


def _text(report: "ScanReport") -> str:
    """Write the findings for people; blind spots once per rule, at the end."""
    from mergebarrier.errors import clean
    from mergebarrier.scan import CHECKS as REGISTERED
    from mergebarrier.scan import RULES, UNSEEN

    lines = []
    for found in report.findings:
        figures = ""
        if found.value is not None and found.threshold is not None:
            figures = f" [{found.value:.3g}, limit {found.threshold:.3g}, margin {found.value - found.threshold:+.3g}"
            figures += "]" if found.pool_median is None else f", pool median {found.pool_median:.3g}]"
        known = " (known)" if found.fingerprint in report.known else ""
        lines.append(f"{found.severity:<8} {found.rule} {clean(found.model)}: {clean(found.message)}{figures}{known}")
    if not lines:
        lines.append(f"no finding by checks {', '.join(report.checks_run)}")
    lines += _margins(report)
    lines += [f"not run: {name}, {why}" for name, why in report.checks_left_out.items()]
    ran = (rule for name in report.checks_run for rule in REGISTERED[name].rules if rule != UNSEEN)
    rules = dict.fromkeys([found.rule for found in report.findings] or ran)
    unseen: dict[str, list[str]] = {}
    for rule in rules:
        unseen.setdefault(RULES[rule].cannot_see, []).append(rule)
    return "\n".join([*lines, *(f"cannot see ({', '.join(by)}): {words}" for words, by in unseen.items())])


def _margins(report: "ScanReport") -> list[str]:
    """Say how near each search came to its limit: a model just below it deserves a second look."""
    from mergebarrier.errors import clean
    from mergebarrier.scan import COLLAPSE_LIMIT, EXCESS_LIMIT, MERGED_LIMIT

    searched, texts = report.outcome.outcome, report.outcome.texts
    if texts is not None:
        rows = list(texts.uploads)
        rows += [(f"merge, task {task}", one) for task, one, _ in texts.merged]
        return [
            f"margin: {clean(name)}, strongest input {one.score:.2f}, limit {COLLAPSE_LIMIT:g} "
            f"(to {one.depth} tokens, {one.forwards} prompts)"
            for name, one in rows
        ] + [
            f"asked: {clean(one.name)} refuses {one.conduct.refused} and agrees to {one.conduct.agreed} of "
            f"{one.conduct.questions} questions"
            for one in texts.asked
        ]
    if searched is None:
        return []
    found = [(one.name, "patch", one.excess, EXCESS_LIMIT) for one in searched.experts]
    found += [(one.name, one.best.carrier, one.best.excess, one.best.limit) for one in searched.images]
    found += [(f"merge, task {one.task}", "patch", one.patch.excess, MERGED_LIMIT) for one in searched.merged]
    return [
        f"margin: {clean(name)}, strongest {what} {value:.2f}, limit {limit:g}" for name, what, value, limit in found
    ]
