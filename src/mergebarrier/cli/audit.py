"""``mergebarrier audit``: merge and attack a protected model, grade what is left, write one honest report."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.cli._options import WriterOptions, dtype_option, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.audit import AuditSpec
    from mergebarrier.results import Result

__all__ = ["command", "conclude"]


@click.command()
@click.argument("protected", type=MODEL)
@click.option("--original", type=MODEL, required=True, help="The model that PROTECTED was made from.")
@click.option("--base", type=MODEL, required=True, help="The public base of both experts.")
@click.option("--partner", type=MODEL, required=True, help="Another expert of that base, to merge with.")
@click.option("--task", type=MODEL, required=True, metavar="A.jsonl", help="Test rows of the task of PROTECTED.")
@click.option("--partner-task", type=MODEL, required=True, metavar="B.jsonl", help="Test rows of the partner's task.")
@click.option("--validation", type=MODEL, metavar="A.jsonl", help="Rows to choose settings on.  [default: half of A]")
@click.option(
    "--partner-validation", type=MODEL, metavar="B.jsonl", help="Rows of the partner's task to choose settings on."
)
@click.option("--text", type=MODEL, help="Plain UTF-8 text for perplexity and for comparing outputs.")
@click.option("--merges", metavar="NAME,...", help="Merge algorithms.  [default: all six]")
@click.option("--coefficients", metavar="C,...", help="Published coefficients.  [default: 0.3,0.5,0.7,1]")
@click.option("--levels", default="0-2", show_default=True, metavar="0-N", help="Attack levels to run.")
@click.option(
    "--budget", type=click.IntRange(1), default=16, show_default=True, help="How many settings a search tries."
)
@click.option("--engine", default="serial", show_default=True, help="How cells are run; only serial is built yet.")
@click.option("--max-items", type=click.IntRange(2), metavar="N", help="Test rows per task.  [default: all]")
@click.option("--second-key", type=MODEL, metavar="MODEL", help="ORIGINAL protected with another key, as a control.")
@click.option("--compare", type=MODEL, multiple=True, metavar="MODEL", help="Another protection, shown for comparison.")
@dtype_option()
@writer_options
@output_options
def command(writer: WriterOptions, output: Output, **inputs: Any) -> None:
    """Merge PROTECTED with a partner, attack it, and write REPORT_DIR: result.json, rows.jsonl, report.html, card.md,
    findings.sarif.

    Level 0 merges as stock tools do, level 1 searches coefficients, level 2 realigns PROTECTED to the base first. The
    grade is that of the first level which recovers 0.9 of what merging the unprotected model gives. Without validation
    files, settings are chosen on the first half of each task file and scores stand on the second half.
    """
    if inputs["engine"] != "serial":
        raise UsageError(f"{inputs['engine']!r} is not built yet", where="--engine", remedy="leave --engine out")
    spec = _spec(writer, inputs)
    if writer.dry_run:
        from mergebarrier.audit import planned

        document = planned(spec)
        output.result({"kind": "plan", **document}, "\n".join(f"{name}: {value}" for name, value in document.items()))
        return
    result, rows = run(
        spec, writer.folder, output, threads=writer.threads, resume=writer.resume, fresh=writer.overwrite
    )
    shutil.rmtree(spec.work, ignore_errors=True)
    conclude(result, rows, writer.folder, output)


def run(
    spec: "AuditSpec", folder: Path, output: Output, *, threads: int, resume: bool, fresh: bool
) -> tuple["Result", list[Any]]:
    """Run an audit into a report folder and write all of its files; return the result and its rows."""
    from mergebarrier.api.base import machine
    from mergebarrier.audit import run_audit
    from mergebarrier.report import Journal, write_report

    journal = Journal.open(folder, resume=resume, overwrite=fresh)
    spec.work.mkdir(exist_ok=True)
    result = run_audit(spec, journal, say=output.note, environment=machine(threads))
    write_report(folder, result, journal.used)
    return result, journal.used


def conclude(result: "Result", rows: list[Any], folder: Path, output: Output, **more: Any) -> None:
    """Print the report, and where its page is."""
    from dataclasses import asdict

    from rich.console import Group
    from rich.text import Text

    from mergebarrier.report import render_terminal

    page = folder / "report.html"
    last = Text(f"\nReport: {page}")
    output.result({**asdict(result), "report": page, **more}, Group(render_terminal(result, rows), last))


def _spec(writer: WriterOptions, inputs: dict[str, Any]) -> "AuditSpec":
    from mergebarrier.audit import MERGES, AuditSpec, levels_from, published

    merges = tuple(name.strip() for name in inputs["merges"].split(",")) if inputs["merges"] else MERGES
    unknown = [name for name in merges if name not in MERGES]
    if unknown:
        raise UsageError(f"unknown merge {unknown[0]!r}", where="--merges", remedy="choose from " + ", ".join(MERGES))
    settings = published(merges, _numbers(inputs["coefficients"])) if inputs["coefficients"] else published(merges)
    if not settings:
        raise UsageError(
            "no setting is left to measure", where="--coefficients", remedy="linear and slerp need one below 1"
        )
    return AuditSpec(
        protected=inputs["protected"],
        original=inputs["original"],
        base=inputs["base"],
        partner=inputs["partner"],
        task=inputs["task"],
        partner_task=inputs["partner_task"],
        work=writer.folder / "work",
        validation=inputs["validation"],
        partner_validation=inputs["partner_validation"],
        text=inputs["text"],
        settings=settings,
        levels=levels_from(inputs["levels"]),
        search_budget=inputs["budget"],
        max_items=inputs["max_items"],
        second=inputs["second_key"],
        comparisons=inputs["compare"],
        dtype=inputs["dtype"],
        seed=writer.seed,
        workers=writer.workers,
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0.0 < value <= 2.0 for value in values):
        raise UsageError(
            f"{text!r} is not a list of coefficients", where="--coefficients", remedy="write 0.3,0.5,0.7,1"
        )
    return values
