"""From the name of a model to its checkpoint: one resolver for every verb.

    folder | snapshot | owner/name[@revision] | any of them + adapter | Checkpoint   ->  Path | Checkpoint

A folder with the literal name wins over every other reading; a checkpoint is used as it is, and stays open.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

from mergebarrier.api.base.hub import HUB_NAME, REVISION, find_folder
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.lineage import name_of
from mergebarrier.verbs import Models

Model: TypeAlias = str | os.PathLike[str] | Checkpoint


def resolve(model: Model, *, download: bool = False) -> Path | Checkpoint:
    """Return the folder that a model's name means, ``BASE+ADAPTER`` where it names two, or the opened checkpoint.

    Args:
      model:    a folder, ``owner/name[@revision]``, either with ``+adapter``, or an opened checkpoint.
      download: fetch from the Hub what its local cache lacks, safetensors and side files only.
    Returns: a path that ``verbs.Models`` opens; one that is nothing we know is returned as it is, for the strict reader
             to refuse.
    Raises:  NotACheckpoint for a name of the Hub that is not in the cache; FetchFailed, MissingExtra.
    """
    if isinstance(model, Checkpoint):
        return model
    text = os.fspath(model)
    if os.path.isdir(text):
        return Path(text)
    for base, adapter in _readings(text):
        if _is_known(base) and (adapter is None or _is_known(adapter)):
            parts = [_folder(part, download) for part in (base, adapter) if part is not None]
            return Path("+".join(map(str, parts)))
    return Path(text)


def resolve_all(models: Iterable[Model], *, download: bool = False) -> tuple[Path | Checkpoint, ...]:
    """Resolve several models."""
    return tuple(resolve(model, download=download) for model in models)


@contextmanager
def opened(*models: Model, download: bool = False) -> Iterator[tuple[Checkpoint, ...]]:
    """Open models, each folder once; those that were given open stay open.

    Example: with opened("model", "owner/base@main", download=True) as (model, base): ...
    """
    with ExitStack() as stack:
        folders = Models(stack)
        yield tuple(folders.model(path) for path in resolve_all(models, download=download))


def as_given(model: Model) -> str:
    """Return what a report calls a model: the words of the caller, or the name of an opened checkpoint."""
    return name_of(model) if isinstance(model, Checkpoint) else os.fspath(model)


def _readings(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield the ways to read a name: as a whole, then cut at each plus sign."""
    yield text, None
    parts = text.split("+")
    for i in range(1, len(parts)):
        yield "+".join(parts[:i]), "+".join(parts[i:])


def _is_known(text: str) -> bool:
    """Say whether a name is a folder or has the form of a name of the Hub."""
    name, at, revision = text.partition("@")
    on_hub = HUB_NAME.fullmatch(name) is not None and (not at or REVISION.fullmatch(revision) is not None)
    return on_hub or os.path.isdir(text)


def _folder(text: str, download: bool) -> Path:
    if os.path.isdir(text):
        return Path(text)
    name, _, revision = text.partition("@")
    return find_folder(name, revision or None, download=download)
