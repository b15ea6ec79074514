"""The command that makes a report again: models and files by name, options where they are not the defaults."""

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.parameters import flag_of, parameters_of

#: What a word of the command may be given as; None leaves its option out, False and () too.
Given = str | int | float | os.PathLike[str] | Checkpoint | None


def command_line(
    verb: str, model: Given | tuple[Given, ...], given: Mapping[str, Given | Iterable[Given]], options: object = None
) -> str:
    """Return one line that a shell reads as it is meant.

    Args:
      verb:    of the command line, with its sub-command.
      model:   its argument, or several.
      given:   option -> value, or values of an option that is repeated.
      options: a dataclass of declared options, of which only what differs from the default is said.
    """
    words = ["mergebarrier", *verb.split(), *map(_name, model if isinstance(model, tuple) else (model,))]
    for flag, value in (*given.items(), *_chosen(options)):
        several = value if isinstance(value, tuple | list) else (value,)
        words += [word for one in several if one is not None for word in (flag, _name(one))]
    return shlex.join(words)


def _chosen(options: object) -> Iterable[tuple[str, str]]:
    if options is None:
        return
    plain = type(options)()
    for field, parameter in parameters_of(options).items():
        value = getattr(options, field)
        if value != getattr(plain, field):
            listed = isinstance(value, tuple)
            yield flag_of(field, parameter), ",".join(f"{one}" for one in value) if listed else f"{value}"


def _name(given: object) -> str:
    """Name a model or a file without saying where it is; a name on a hub stays whole."""
    if isinstance(given, Checkpoint):
        return given.name
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else f"{given}"
    return Path(text).name if Path(text).exists() or Path(text).is_absolute() else text
