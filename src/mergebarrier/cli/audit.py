"""``mergebarrier audit``: merge and attack a protected model, grade what is left, write one honest report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier.cli._options import (
    MODEL,
    WriterOptions,
    download_option,
    dtype_option,
    output_options,
    writer_options,
)
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.api import AuditOptions

__all__ = ["command"]

_INPUTS: Final = ("original", "base", "partner", "task", "partner_task")


class _WithLevels(click.Command):
    """A command whose help ends with the ladder, read from its registry when help is asked for."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line per level that is built."""
        from mergebarrier.audit import LEVELS

        with formatter.section("Levels"):
            formatter.write_dl(
                [
                    (f"{number}  {level.name}", f"{level.attack}; needs {level.needs}")
                    for number, level in LEVELS.items()
                ]
            )


@click.command(cls=_WithLevels)
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
@click.option("--levels", default="", metavar="0-N", help="Attack levels to run.  [default: all that are built]")
@click.option(
    "--budget", type=click.IntRange(1), default=16, show_default=True, help="How many settings a search tries."
)
@click.option("--max-items", type=click.IntRange(2), metavar="N", help="Test rows per task.  [default: all]")
@click.option("--second-key", type=MODEL, metavar="MODEL", help="ORIGINAL protected with another key, as a control.")
@click.option("--compare", type=MODEL, multiple=True, metavar="MODEL", help="Another protection, shown for comparison.")
@dtype_option()
@download_option
@writer_options(metavar="REPORT_DIR", what="Report folder.")
@output_options
def command(protected: Path, download: bool, writer: WriterOptions, output: Output, **given: Any) -> None:
    """Merge PROTECTED with a partner, attack it, and write REPORT_DIR: result.json, rows.jsonl, report.html, card.md,
    findings.sarif.

    The attacks are levels of a ladder, listed below; a level reuses those below it. The grade is that of the first
    level which recovers 0.9 of what merging the unprotected model gives. Without validation files, settings are chosen
    on the first half of each task file and scores are measured on the second half.
    """
    from mergebarrier.api import audit, plan_audit

    inputs = {name: given.pop(name) for name in _INPUTS}
    options = _options(writer, given)
    if writer.dry_run:
        plan = plan_audit(options)
        output.result(plan, "\n".join(f"{name}: {value}" for name, value in plan.counts.items()))
        return
    report = audit(
        protected,
        **inputs,
        out=writer.folder,
        options=options,
        write=writer.write(),
        download=download,
        say=output.note,
    )
    output.result(report, report.terminal())


def _options(writer: WriterOptions, given: dict[str, Any]) -> "AuditOptions":
    from mergebarrier.api import AuditOptions

    merges, coefficients = given.pop("merges"), given.pop("coefficients")
    if merges:
        given["merges"] = tuple(name.strip() for name in merges.split(","))
    if coefficients:
        given["coefficients"] = _numbers(coefficients)
    return AuditOptions(seed=writer.seed, **given)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"{text!r} is not a list of coefficients", where="--coefficients", remedy="write 0.3,0.5,0.7,1"
        ) from None
