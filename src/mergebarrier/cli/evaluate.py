"""``mergebarrier evaluate``: what a model can do, as figures with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.cli._options import output_options, threads_option
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["command"]


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--task", "tasks", type=MODEL, multiple=True, metavar="FILE", help="A task file (JSON lines); repeatable."
)
@click.option("--text", "text_path", type=MODEL, metavar="FILE", help="Plain UTF-8 text to measure perplexity on.")
@click.option("--dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True)
@click.option("--max-items", type=click.IntRange(1), metavar="N", help="Rows per task.  [default: all]")
@click.option(
    "--max-tokens", type=click.IntRange(16), default=4096, show_default=True, metavar="N", help="Of the text."
)
@threads_option
@output_options
def command(
    model: Path,
    tasks: tuple[Path, ...],
    text_path: Path | None,
    dtype: str,
    max_items: int | None,
    max_tokens: int,
    threads: int,
    output: Output,
) -> None:
    """Score MODEL: exact match on every task with its 95 % interval, perplexity on the text.

    A task file holds lines {"prompt": "...", "answer": "..."}; a row counts when the greedy continuation is the answer.
    """
    del threads
    if not tasks and text_path is None:
        raise UsageError("nothing to measure", where="evaluate", remedy="give --task FILE or --text FILE")
    from dataclasses import asdict

    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.evaluate import exact_match, load_module, load_tokenizer, perplexity, read_task, read_text

    # Everything that can be refused is read before the model is.
    files = [(path, read_task(path)) for path in tasks]
    text = read_text(text_path) if text_path is not None else None
    steps = 1 + len(files) + (text is not None)
    document: dict[str, Any] = {"kind": "evaluation", "model": model, "dtype": dtype, "tasks": [], "text": None}
    with open_checkpoint(model) as checkpoint, output.progress("evaluating", steps) as progress:
        tokenizer = load_tokenizer(checkpoint)
        module = load_module(checkpoint, dtype)
        progress(1, steps)
        for done, (path, task) in enumerate(files, 2):
            score = exact_match(module, tokenizer, task.rows, max_items=max_items)
            document["tasks"].append({"task": path, "sha256": task.digest, **asdict(score)})
            progress(done, steps)
        if text is not None:
            document["text"] = {"file": text_path, **asdict(perplexity(module, tokenizer, text, max_tokens))}
            progress(steps, steps)
    output.result(document, _table(document))


def _table(document: dict[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("measured on", "figure", "value", "95 % interval", "on", box=None, padding=(0, 2, 0, 0))
    for row in document["tasks"]:
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        table.add_row(Text(str(row["task"])), "exact match", f"{row['rate']:.3f}", interval, f"{row['total']} rows")
    if document["text"] is not None:
        row = document["text"]
        table.add_row(Text(str(row["file"])), "perplexity", f"{row['perplexity']:.2f}", "", f"{row['tokens']} tokens")
    return table
