"""``mergebarrier audit``: merge and attack a protected model, grade what is left, write one honest report."""

from pathlib import Path
from typing import Any, Final

import click

from mergebarrier.audit import AuditOptions
from mergebarrier.cli._compute import compute_options
from mergebarrier.cli._options import (
    MODEL,
    WriterOptions,
    download_option,
    output_options,
    writer_options,
)
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import chosen, parameter_options
from mergebarrier.parameters import built, parameters_of

__all__ = ["command"]

_OPTIONS: Final = {"audit": AuditOptions}
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
@parameter_options(_OPTIONS)
@click.option("--second-key", type=MODEL, metavar="MODEL", help="ORIGINAL protected with another key, as a control.")
@click.option(
    "--twin", type=MODEL, metavar="MODEL", help="Of a trained protection: its control (`protect --strength 0`)."
)
@click.option(
    "--wrong-base", type=MODEL, metavar="MODEL", help="Another base of the same shapes, as a control: it must not help."
)
@click.option(
    "--public", type=MODEL, multiple=True, metavar="MODEL",
    help="A further public expert: also attack without the base, with their mean as the anchor; repeatable.",
)  # fmt: skip
@click.option("--compare", type=MODEL, multiple=True, metavar="MODEL", help="Another protection, shown for comparison.")
@click.option(
    "--plan-only", is_flag=True, help="Write the plan of the work into REPORT_DIR and stop; `worker` does its tasks."
)
@compute_options()
@download_option
@writer_options(metavar="REPORT_DIR", what="Report folder.")
@output_options
def command(
    protected: Path, plan_only: bool, download: bool, writer: WriterOptions, output: Output, **given: Any
) -> None:
    """Merge PROTECTED with a partner, attack it, and write REPORT_DIR: result.json, rows.jsonl, report.html, card.md,
    findings.sarif.

    The attacks are levels of a ladder, listed below; a level reuses those below it. The grade is that of the first
    level which recovers 0.9 of what merging the unprotected model gives. Without validation files, settings are chosen
    on the first half of each task file and scores are measured on the second half.

    With `--engine process` or `--engine ray`, as many workers as `--workers` says measure the rows side by side; they
    give the same rows. With `--plan-only`, `mergebarrier worker` does that anywhere, and `--resume` makes the report.
    """
    from mergebarrier.api import audit, plan_audit, plan_work

    inputs = {name: given.pop(name) for name in _INPUTS}
    declared = {name: given.pop(name) for name in parameters_of(AuditOptions)}
    options = built(AuditOptions, {"seed": writer.seed, **given, **chosen(_OPTIONS, "audit", declared)})
    if writer.dry_run:
        plan = plan_audit(options)
        output.plan(plan)
        return
    out, write = writer.folder, writer.write()
    if plan_only:
        work = plan_work(protected, **inputs, out=out, options=options, write=write, download=download)
        output.result(work, work.lines())
        return
    report = audit(protected, **inputs, out=out, options=options, write=write, download=download, say=output.note)
    output.result(report, report.terminal())
