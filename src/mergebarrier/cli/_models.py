"""Opening models and keys for the verbs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.cli._options import WriterOptions
    from mergebarrier.cli._output import Output
    from mergebarrier.keys import Key
    from mergebarrier.verbs import Models, OutputOptions

MODEL = click.Path(path_type=Path)


def into(writer: "WriterOptions", progress: Any) -> "OutputOptions":
    """Return where and how to write, from the shared options."""
    from mergebarrier.verbs import OutputOptions

    return OutputOptions(writer.folder, writer.resume, writer.overwrite, writer.workers, writer.max_ram_bytes, progress)


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


def read_key(path: Path | None) -> "Key | None":
    """Open a key file; None stays None."""
    if path is None:
        return None
    from mergebarrier.keys import Key, read_key_file

    return Key(read_key_file(path))


def key_for_writing(path: Path | None, out: Path) -> "tuple[Key, Path, bool]":
    """Return the key to protect with, its file, and whether it is new and not written yet.

    Without a path the key stands beside the output folder; an existing key is used, never replaced.
    """
    import secrets

    from mergebarrier.keys import KEY_BYTES, Key, read_key_file

    place = path if path is not None else out.with_name(out.name + ".mbkey")
    if place.is_relative_to(out):
        raise UsageError("the key would be published with the model", where=place, remedy="keep it outside the folder")
    if place.exists() or place.is_symlink():
        return Key(read_key_file(place)), place, False
    return Key(secrets.token_bytes(KEY_BYTES)), place, True
