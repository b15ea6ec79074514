"""``mergebarrier evaluate``: what a model can do, as figures with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from mergebarrier.cli._compute import compute_options
from mergebarrier.cli._options import MODEL, download_option, output_options, threads_option
from mergebarrier.cli._output import Output
from mergebarrier.progress import counted

if TYPE_CHECKING:
    from rich.table import Table

    from mergebarrier.api import EvaluationReport

__all__ = ["command"]


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--task",
    "tasks",
    type=MODEL,
    multiple=True,
    metavar="FILE",
    help="A task file (JSON lines, or NAME.task.safetensors for a model of images); repeatable.",
)
@click.option("--text", "text_path", type=MODEL, metavar="FILE", help="Plain UTF-8 text to measure perplexity on.")
@compute_options()
@click.option("--max-items", type=click.IntRange(1), metavar="N", help="Rows per task.  [default: all]")
@click.option(
    "--max-tokens",
    type=click.IntRange(16),
    default=4096,
    show_default=True,
    metavar="N",
    help="Tokens of the text to use.",
)
@download_option
@threads_option
@output_options
def command(
    model: Path,
    tasks: tuple[Path, ...],
    text_path: Path | None,
    threads: int,
    output: Output,
    **options: Any,
) -> None:
    """Score MODEL: exact match on every task with its 95 % interval, perplexity on the text.

    A task file holds lines {"prompt": "...", "answer": "..."}; a row is correct when the greedy continuation is
    the answer. A file NAME.task.safetensors holds images with a frozen head; its test split is scored, in float32.
    """
    del threads
    from mergebarrier.api import evaluate

    with output.progress("evaluating") as progress:
        report = evaluate(
            model,
            tasks=tasks,
            text=text_path,
            **options,
            progress=progress,
        )
    output.result(report, _table(report))


def _table(report: "EvaluationReport") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("measured on", "figure", "value", "95 % interval", "on", box=None, padding=(0, 2, 0, 0))
    for item in report.tasks:
        score, unit = item.score, "images" if item.figure == "accuracy" else "rows"
        interval = f"{score.low:.3f} to {score.high:.3f}"
        on = counted(score.total, cast("int | None", item.about.get("distinct")), unit)
        table.add_row(Text(item.task), item.figure, f"{score.rate:.3f}", interval, on)
    if report.text is not None:
        found = report.text.perplexity
        table.add_row(Text(report.text.file), "perplexity", f"{found.perplexity:.2f}", "", f"{found.tokens} tokens")
    return table
