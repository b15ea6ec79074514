"""``mergebarrier evaluate``: what a model can do, as figures with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.cli._options import dtype_option, output_options, threads_option
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

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
@dtype_option()
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
    A file NAME.task.safetensors holds images with a frozen head; its test split is scored, in float32.
    """
    del threads
    if not tasks and text_path is None:
        raise UsageError("nothing to measure", where="evaluate", remedy="give --task FILE or --text FILE")
    of_images = [str(path).endswith(".task.safetensors") for path in tasks]
    if any(of_images):
        if not all(of_images) or text_path is not None:
            raise UsageError("a model reads images or text", where="--task", remedy="score one kind at a time")
        output.result(*_of_images(model, tasks, max_items, output))
        return
    from dataclasses import asdict

    from mergebarrier.checkpoint import open_reference
    from mergebarrier.evaluate import (
        compute_dtype,
        exact_match,
        load_module,
        load_tokenizer,
        perplexity,
        read_task,
        read_text,
    )

    dtype = compute_dtype(dtype)
    # Everything that can be refused is read before the model is.
    files = [(path, read_task(path)) for path in tasks]
    text = read_text(text_path) if text_path is not None else None
    steps = 1 + len(files) + (text is not None)
    document: dict[str, Any] = {"kind": "evaluation", "model": model, "dtype": dtype, "tasks": [], "text": None}
    with open_reference(model) as checkpoint, output.progress("evaluating", steps) as progress:
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


def _of_images(
    model: Path, paths: tuple[Path, ...], max_items: int | None, output: Output
) -> tuple[dict[str, Any], "Table"]:
    from dataclasses import asdict

    from mergebarrier.checkpoint import open_reference
    from mergebarrier.evaluate import ImageSplit, accuracy, load_encoder, read_image_task

    tasks = [(path, read_image_task(path)) for path in paths]
    document: dict[str, Any] = {"kind": "evaluation", "model": model, "dtype": "float32", "tasks": [], "text": None}
    with open_reference(model) as checkpoint, output.progress("evaluating", len(tasks)) as progress:
        encoder = load_encoder(checkpoint)
        for done, (path, task) in enumerate(tasks, 1):
            shown = ImageSplit(task.test.images[:max_items], task.test.labels[:max_items])
            score = accuracy(encoder, task.head, task.scale, shown)
            document["tasks"].append({"task": path, "name": task.name, "classes": len(task.classes), **asdict(score)})
            progress(done, len(tasks))
    return document, _table(document)


def _table(document: dict[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("measured on", "figure", "value", "95 % interval", "on", box=None, padding=(0, 2, 0, 0))
    for row in document["tasks"]:
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        figure, unit = ("accuracy", "images") if "classes" in row else ("exact match", "rows")
        table.add_row(Text(str(row["task"])), figure, f"{row['rate']:.3f}", interval, f"{row['total']} {unit}")
    if document["text"] is not None:
        row = document["text"]
        table.add_row(Text(str(row["file"])), "perplexity", f"{row['perplexity']:.2f}", "", f"{row['tokens']} tokens")
    return table
