"""Opening models and keys for the verbs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.api import WriteOptions
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.cli._options import WriterOptions
    from mergebarrier.cli._output import Output
    from mergebarrier.progress import Progress
    from mergebarrier.verbs import Models, OutputOptions

MODEL = click.Path(path_type=Path)


def into(writer: "WriterOptions", progress: "Progress | None") -> "OutputOptions":
    """Return where and how to write, from the shared options."""
    from mergebarrier.verbs import OutputOptions

    return OutputOptions(writer.folder, writer.resume, writer.overwrite, writer.workers, writer.max_ram_bytes, progress)


def write_options(writer: "WriterOptions") -> "WriteOptions":
    """Return how to write, as the functions of the front door take it."""
    from mergebarrier.api import WriteOptions

    return WriteOptions(
        resume=writer.resume,
        overwrite=writer.overwrite,
        workers=writer.workers,
        max_ram_bytes=writer.max_ram_bytes,
    )


def arrange(
    method: str, base: Path | None, models: tuple[Path, ...], output: "Output", *, uses_base: bool
) -> tuple[Path | None, tuple[Path, ...]]:
    """Give the base its place: a method that uses none takes it, if it is among the models, as the first of them."""
    if base is None:
        return None, models
    among = [model for model in models if model.resolve() == base.resolve()]
    if uses_base:
        if among:
            raise UsageError("the base is also among the models", where=among[0], remedy="list it once, as --base")
        return base, models
    if among:
        return None, (*among, *(model for model in models if model not in among))
    output.note(f"note: {method} does not use a base; the output takes its files from {models[0].name}")
    return None, models


def open_model(folders: "Models", model: Path, base: Path | None) -> "Checkpoint":
    """Open a model, or an adapter on the base."""
    from mergebarrier.checkpoint import is_adapter

    if base is not None:
        return folders.model_on(model, base)
    if is_adapter(model):
        raise UsageError("this is an adapter, and no base was given", where=model, remedy="give --base")
    return folders.model(model)
