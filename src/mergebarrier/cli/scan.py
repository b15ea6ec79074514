"""``mergebarrier scan``: look at models before they are merged, say what was found and what could not be seen."""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._cleanse import CleanseOptions, cleanse_options
from mergebarrier.cli._lineage import acknowledge_option
from mergebarrier.cli._merge_options import hyper_parameters
from mergebarrier.cli._models import MODEL, into, open_model
from mergebarrier.cli._options import WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.errors import CheckpointError, ConfigMismatch, ShapeMismatch, TensorSetMismatch, UsageError
from mergebarrier.merge import MERGES

if TYPE_CHECKING:
    from mergebarrier.merge import Merge
    from mergebarrier.scan import Search
    from mergebarrier.verbs import MergeJob, ScanReport

__all__ = ["CHECKS", "command"]

#: The keys of ``scan.CHECKS``, written here because the help text must not import torch; a test compares them.
CHECKS = ("folder", "relation", "task_vectors", "expert_patches", "merge_patches", "leave_out", "neural_cleanse")
_DEFAULT = ",".join(CHECKS[:-1])
_SEVERITIES = ("critical", "high", "medium", "low", "info")


@click.command()
@click.argument("models", nargs=-1, required=True, type=MODEL, metavar="MODEL...")
@click.option("--base", type=MODEL, required=True, help="The model that they were fine-tuned from.")
@cleanse_options
@acknowledge_option
@click.option("--merge", "method", type=click.Choice(list(MERGES)), metavar="METHOD", help="Scan this merge too.")
@click.option("--coefficient", type=float, metavar="L", help="Lambda of that merge.")
@click.option("--density", type=float, metavar="D", help="Kept share of that merge.")
@click.option("--checks", default=_DEFAULT, metavar="NAME,...", help=f"[default: {_DEFAULT}; also neural_cleanse]")
@click.option("--patch", type=float, metavar="F", help="Side of the sought patch over the image's.  [default: 0.25]")
@click.option("--leave-out", type=click.IntRange(1, 2), default=1, show_default=True, help="Models left out at once.")
@click.option("--fail-on", type=click.Choice(_SEVERITIES), default="high", show_default=True, help="Exit 1 from here.")
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
@writer_options(require_out=False, what="With --cleanse: where the cured merge goes.")
@output_options
def command(
    models: tuple[Path, ...],
    base: Path,
    cleanse: CleanseOptions,
    acknowledge_licence: bool,
    method: str | None,
    checks: str,
    patch: float | None,
    leave_out: int,
    fail_on: Any,
    form: str,
    writer: WriterOptions,
    output: Output,
    **parameters: Any,
) -> int:
    """Report what is odd about MODEL..., alone, against each other, and as a merge.

    Folders and weights are checked for every kind of model; MODEL may be an adapter of peft, which is put on the base,
    or BASE+ADAPTER.  With --task, patches are sought that force a class; with
    --merge too, the merge is searched and leaving models out names who brought the patch.  Finding nothing means that
    these checks found nothing.
    """
    from mergebarrier import __version__, verbs
    from mergebarrier.merge import make
    from mergebarrier.report import render_findings
    from mergebarrier.scan import MANY_PAIRS, RULES, Search, at_least

    if form == "json":
        output = Output(json=True, quiet=output.quiet)
    chosen = tuple(name.strip() for name in checks.split(",") if name.strip())
    unknown = [name for name in chosen if name not in CHECKS]
    if unknown or not chosen:
        raise UsageError(
            f"no check {', '.join(unknown)!r}", where="--checks", remedy="choose from " + ", ".join(CHECKS)
        )
    given = {name: value for name, value in parameters.items() if value is not None}
    out = writer.out
    if (cleanse.cure is None) != (out is None) or (cleanse.cure is not None and method is None):
        raise UsageError("--cleanse, --merge and -o go together", where="--cleanse", remedy="give all three or none")
    if acknowledge_licence and cleanse.cure is None:
        raise UsageError("goes with --cleanse", where="--acknowledge-licence", remedy="leave it out")
    if method is None and given:
        raise UsageError("goes with --merge", where="--" + next(iter(given)), remedy="name the merge too")
    merge = None
    if method is not None:
        values = {**given, **({"density": (given["density"],)} if "density" in given else {})}
        merge = make(method, **hyper_parameters(method, values, seed=writer.seed, based=True))
    search = Search(seed=writer.seed) if patch is None else Search(side_frac=patch, seed=writer.seed)
    if leave_out == 2 and len(models) * (len(models) - 1) // 2 > MANY_PAIRS:
        output.note(
            f"note: leaving out two of {len(models)} models takes {len(models) * (len(models) - 1) // 2} merges"
        )
    wished = verbs.Checks(acknowledge_licence=acknowledge_licence)
    # What an owner forbids is refused before any work; a folder that cannot be opened, or is of another shape, is what
    # the scan reports.
    if cleanse.cure is not None and merge is not None:
        with ExitStack() as stack, suppress(CheckpointError, TensorSetMismatch, ShapeMismatch, ConfigMismatch):
            verbs.judged_inputs(_curing(models, base, cleanse, merge, search, stack), wished)
    if writer.dry_run:
        plan = {"models": models, "base": base, "checks": chosen, "tasks": cleanse.tasks}
        plan |= {"merge": method, "cleanse": cleanse.cure, "out": out}
        output.result({"kind": "plan", **plan}, _plan_text(plan))
        return 0
    request = verbs.ScanRequest(models, base, cleanse.tasks, merge, chosen, search, leave_out, writer.workers)
    with output.progress("scanning") as progress:
        report = verbs.scan(request, progress=progress)
    if form == "sarif" and not output.json:
        shown = render_findings(
            report.findings, RULES, version=__version__, digests=report.digests, ran=report.ran
        ).rstrip("\n")
    else:
        shown = _text(report)
    output.result({"kind": "scan", "fail_on": fail_on, **_document(report)}, shown)
    if cleanse.cure is not None and merge is not None and out is not None:
        with ExitStack() as stack:
            job = _curing(models, base, cleanse, merge, search, stack)
            verbs.merge(job, into(writer, None), wished)
        output.note(f"note: {out} holds the merge after {cleanse.cure}; scan it as a model of its own")
    return 1 if at_least(report.findings, fail_on) else 0


def _plan_text(plan: dict[str, Any]) -> str:
    rows = ((name, value if isinstance(value, tuple) else (value,)) for name, value in plan.items() if value)
    return "\n".join(f"{name}: {', '.join(str(one) for one in values)}" for name, values in rows)


def _curing(
    models: tuple[Path, ...], base: Path, cleanse: CleanseOptions, merge: "Merge", search: "Search", stack: ExitStack
) -> "MergeJob":
    from mergebarrier import verbs
    from mergebarrier.merge import plan

    folders = verbs.Models(stack)
    planned = plan(merge, folders.model(base), [open_model(folders, model, base) for model in models])
    return verbs.cleansed(verbs.whole_models(planned), planned, str(cleanse.cure), cleanse.tasks, search)


def _document(report: "ScanReport") -> dict[str, Any]:
    from dataclasses import asdict

    findings = [{**asdict(found), "cannot_see": found.cannot_see} for found in report.findings]
    document = {"findings": findings, "checks_run": report.ran, "checks_left_out": dict(report.left_out)}
    document["digests"] = report.digests
    if report.outcome is not None:
        document["experts"] = [
            {"name": one.name, "excess": one.excess, "probe": one.probe} for one in report.outcome.experts
        ]
        document["merged"] = [{"task": one.task, "excess": one.patch.excess} for one in report.outcome.merged]
    return document


def _text(report: "ScanReport") -> str:
    """Write the findings for people; blind spots once per rule, at the end."""
    from mergebarrier.errors import clean
    from mergebarrier.scan import RULES

    lines = []
    for found in report.findings:
        figures = ""
        if found.value is not None and found.threshold is not None:
            figures = f" [{found.value:.3g}, limit {found.threshold:.3g}"
            figures += "]" if found.pool_median is None else f", pool median {found.pool_median:.3g}]"
        lines.append(f"{found.severity:<8} {found.rule} {clean(found.model)}: {clean(found.message)}{figures}")
    if not lines:
        lines.append(f"no finding by checks {', '.join(report.ran)}")
    lines += [f"not run: {name}, {why}" for name, why in report.left_out]
    rules = dict.fromkeys(
        [found.rule for found in report.findings] or [r for name in report.ran for r in _rules_of(name)]
    )
    unseen = dict.fromkeys(RULES[rule].cannot_see for rule in rules)
    return "\n".join([*lines, *(f"cannot see: {words}" for words in unseen)])


def _rules_of(check: str) -> tuple[str, ...]:
    from mergebarrier.scan import CHECKS as REGISTERED

    return REGISTERED[check].rules
