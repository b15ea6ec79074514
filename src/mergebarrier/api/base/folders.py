"""The folders of the front door: one resolver from the name of a model to its checkpoint, and how outputs are written.

    folder | snapshot | owner/name[@revision] | its address | any of them + adapter | Checkpoint  ->  Path | Checkpoint
    protecting  43 %|█████████               | 12/28

A folder with the literal name wins over every other reading; a checkpoint is used as it is, and stays open.  Progress
goes to the caller's callback, else to a bar in a notebook, else nowhere: a program that imports us is shown nothing
that it did not ask for.  The bar is one line of text that is written over; it needs no widgets.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, TypeAlias

from mergebarrier.api.base.hub import HUB_NAME, REVISION, at_hub, find_folder
from mergebarrier.checkpoint import Checkpoint, check_claimable
from mergebarrier.errors import NotACheckpoint
from mergebarrier.progress import Progress
from mergebarrier.verbs import Models, OutputOptions

Model: TypeAlias = str | os.PathLike[str] | Checkpoint
_CELLS: Final = 24
_ELSEWHERE: Final = re.compile(r"(https?|hf|ftp|s3|gs):/")


def resolve(model: Model, *, download: bool = False) -> Path | Checkpoint:
    """Return the folder that a model's name means, ``BASE+ADAPTER`` where it names two, or the opened checkpoint.

    Args:
      model:    a folder, ``owner/name[@revision]``, ``https://huggingface.co/owner/name``, ``hf://owner/name``, any of
                them with ``+adapter``, or an opened checkpoint.
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
    if _ELSEWHERE.match(text):
        what = "this address is none of a model of the Hub, and nothing else is fetched"
        remedy = "write owner/name, as in https://huggingface.co/owner/name, or download it and give its folder"
        raise NotACheckpoint(what, where=text, remedy=remedy)
    return Path(text)


def resolve_all(models: Iterable[Model], *, download: bool = False) -> tuple[Path | Checkpoint, ...]:
    """Resolve several models."""
    return tuple(resolve(model, download=download) for model in models)


@contextmanager
def opened(*models: Model, download: bool = False, any_code: bool = False) -> Iterator[tuple[Checkpoint, ...]]:
    """Open models, each folder once; those that were given open stay open.

    With ``any_code`` also a folder that only its own code could run, to be described and no more.

    Example: with opened("model", "owner/base@main", download=True) as (model, base): ...
    """
    with ExitStack() as stack:
        folders = Models(stack, any_code=any_code)
        yield tuple(folders.model(path) for path in resolve_all(models, download=download))


def as_given(model: Model) -> str:
    """Return what a report calls a model: the words of the caller, or the name of an opened checkpoint."""
    return model.name if isinstance(model, Checkpoint) else os.fspath(model)


def _readings(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield the ways to read a name: as a whole, then cut at each plus sign."""
    yield text, None
    parts = text.split("+")
    for i in range(1, len(parts)):
        yield "+".join(parts[:i]), "+".join(parts[i:])


def _is_known(text: str) -> bool:
    """Say whether a name is a folder or has the form of a name of the Hub."""
    name, at, revision = at_hub(text).partition("@")
    on_hub = HUB_NAME.fullmatch(name) is not None and (not at or REVISION.fullmatch(revision) is not None)
    return on_hub or os.path.isdir(text)


def _folder(text: str, download: bool) -> Path:
    if os.path.isdir(text):
        return Path(text)
    name, _, revision = at_hub(text).partition("@")
    return find_folder(name, revision or None, download=download)


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How a folder is written; nothing here changes a weight of it.

    Args:
      resume:        continue the unfinished run in ``<folder>.partial``.
      overwrite:     replace an output that exists.
      workers:       circuits worked on at once.
      max_ram_bytes: the memory budget, None for the default.
      shard_bytes:   fill files of weights to this size; None for those of the input.
    """

    resume: bool = False
    overwrite: bool = False
    workers: int = 1
    max_ram_bytes: int | None = None
    shard_bytes: int | None = None

    def into_claimable(
        self, out: str | os.PathLike[str], progress: Progress | None, inputs: Sequence[Checkpoint]
    ) -> OutputOptions:
        """Return what a verb takes that writes once all is computed; what it could not write is refused before that.

        Raises: OutputExists, UnsafePath, PartialOutput.
        """
        check_claimable(out, [one.path for one in inputs], resume=self.resume, overwrite=self.overwrite)
        return self.into(out, progress)

    def into(self, out: str | os.PathLike[str], progress: Progress | None) -> OutputOptions:
        """Return what the verbs take."""
        return OutputOptions(
            Path(out),
            resume=self.resume,
            overwrite=self.overwrite,
            workers=self.workers,
            max_ram_bytes=self.max_ram_bytes,
            progress=progress,
            shard_bytes=self.shard_bytes,
        )


@contextmanager
def shown(progress: Progress | None, label: str) -> Iterator[Progress]:
    """Give the progress to hand to a verb.

    Args:
      progress: the caller's, which is used as it is.
      label:    what is being done, a word or two.
    """
    if progress is not None or not in_notebook():
        yield progress or _unseen
        return
    draw, finish = _bar(label, sys.stderr)
    try:
        yield draw
    finally:
        finish()


def in_notebook() -> bool:
    """Say whether the program is a cell of a notebook; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def _bar(label: str, stream: TextIO) -> tuple[Progress, Callable[[], None]]:
    last: list[str] = []

    def draw(done: int, total: int) -> None:
        share = done / total if total else 1.0
        cells = "█" * int(share * _CELLS)
        line = f"\r{label} {share:4.0%}|{cells:<{_CELLS}}| {done}/{total}"
        if last[-1:] != [line]:
            last[:] = [line]
            stream.write(line)
            stream.flush()

    def finish() -> None:
        if last:
            stream.write("\n")

    return draw, finish


def _unseen(done: int, total: int) -> None:
    """No-op: no progress is shown."""
