"""``protect``: write a model in other coordinates, and report the limits of that.

The key of a keyed method is read, or made and written once nothing is left to refuse, before the first byte of the
model; it is written next to the folder, never inside.  What was made for a run that leaves nothing behind goes with it.
A copy of the manifest is kept beside the key: both are needed to undo the protection, and hubs and savers lose it.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, WriteOptions, beside, opened, optional, resolve, shown
from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint
from mergebarrier.errors import MethodRefused, RealignError, UsageError
from mergebarrier.keys import KEY_BYTES, Key, check_key_place, read_key_file, write_key_file
from mergebarrier.progress import Progress
from mergebarrier.protect import Exact, Protection

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import AdaptedCheckpoint
    from mergebarrier.protect import Prepared

KEY_SUFFIX = ".mbkey"
COPY_SUFFIX = ".mergebarrier.json"


@dataclass(frozen=True, kw_only=True)
class ProtectReport(Report):
    """What was written, and what it does not do.

    Attributes:
      out:            the protected folder.
      method:         name of the protection.
      parameters:     effective ones, as in the manifest.
      key_id:         public name of the key; None for a method without one.
      content_digest: of the weights.
      limit:          what the protection does not do.
      realigned:      how much of the change the base gives back, without the key; None without a base.
      trained:        what a trained protection reports about itself; None for the others.
      adapters:       folders of the adapters that were moved along; None without any.
      notes:          what no output gets of the model's folder; None where nothing is left out.
      variant:        which form of the method acted.
      key_file:       path of the key; None for a method without one, or a key that was given as such.
      key_made:       whether it was made just now.
      manifest_file:  the copy of the manifest beside the key; None where there is none.
    """

    kind: ClassVar[str] = "protect"

    out: Path
    method: str
    parameters: Mapping[str, object]
    key_id: str | None
    content_digest: str
    limit: str
    realigned: "verbs.Undone | None" = optional()
    trained: "verbs.TrainedFigures | None" = optional()
    adapters: tuple[str, ...] | None = optional()
    notes: tuple[str, ...] | None = optional()
    variant: str = beside("")
    key_file: str | None = beside(None)
    key_made: bool = beside(False)
    manifest_file: str | None = beside(None)


@dataclass(frozen=True, kw_only=True)
class ProtectPlan(Report):
    """What ``protect`` would do: circuits, bytes, effective parameters."""

    kind: ClassVar[str] = "plan"

    method: str
    family: str
    parameters: Mapping[str, object]
    circuits: int
    tensors: int
    bytes: int
    files: tuple[str, ...]


def protect(
    model: Model,
    out: str | os.PathLike[str],
    *,
    method: Protection | None = None,
    key: Key | str | os.PathLike[str] | None = None,
    base: Model | None = None,
    text: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    adapters: Sequence[str | os.PathLike[str]] = (),
    do_not_merge: bool = False,
    write: WriteOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> ProtectReport:
    """Write a model that computes the same but cannot be averaged by stock tools.

    Args:
      model:    as ``resolve`` reads it.
      out:      the folder to write.
      method:   the protection and its parameters; default ``Exact()``.
      key:      of a keyed method: a key, or its file, which is made if it is not there; default ``OUT.mbkey``.
      base:     the public base: for a method that needs it, and to measure what realigning to it takes back.
      text:     a plain UTF-8 file, for a method that is calibrated on it.
      images:   the same for a model that reads pictures: a task file, or a folder of a sub-folder per class.
      adapters: of the model; each is moved along and written to ``OUT-NAME``, for peft to put on the output.
      do_not_merge: ask on card and manifest that nobody merges the output, which `merge` heeds.
      write:    how the folder is written.
      download: fetch models that the local cache lacks.
      progress: called with (bytes done, bytes in all).
    Raises: UsageError, ArchError, MethodRefused, BadKey, CheckpointError; nothing is left behind then.
    """
    folder, write, method = Path(out), write or WriteOptions(), method or Exact()
    if key is not None and not method.keyed:
        raise UsageError(f"{method.name} has no key", where="--key", remedy="leave --key out")
    with ExitStack() as stack:
        source = _first(stack, model, download)
        anchor = None if base is None else _first(stack, base, download)
        experts = _experts(stack, source, adapters, download)
        if anchor is not None:
            verbs.check_realign(source, anchor)
        with _key_for(method, key, folder) as owned, shown(progress, "protecting") as step:
            into = write.into(folder, step)
            moved = [folder.with_name(f"{folder.name}-{expert.adapter.path.name}") for expert in experts]
            besides = [
                write.into_claimable(place, None, [expert]) for expert, place in zip(experts, moved, strict=True)
            ]
            following: list[Sequence[verbs.MovedTensor]] = []

            def ready(prepared: "Prepared") -> None:
                following.extend(verbs.moved_adapter(expert, prepared) for expert in experts)
                if owned.write is not None:
                    owned.write()

            content, prepared = verbs.protect(
                source, method, owned.key, into,
                base=anchor, ready=ready, text=_words(text), images=_pictures(source, images),
                do_not_merge=do_not_merge,
            )  # fmt: skip
            owned.keep()
            for expert, tensors, place in zip(experts, following, besides, strict=True):
                verbs.write_moved(expert, tensors, content, place)
        notes = [*source.folder_notes, *verbs.remarks(source, prepared)]
        notes += verbs.other_base(source, experts) if experts else []
        if owned.key is not None and prepared.reversibility == "none":
            notes.append("the key does not undo this form, and `unprotect` refuses it: keep the original model")
        realigned = None
        if anchor is not None:
            try:
                realigned = _undone(source, folder, anchor, progress)
            except (RealignError, MethodRefused) as error:
                # The model is written and whole; only the attack on it cannot be tried.
                notes.append(f"what realigning takes back could not be measured: {error}")
    kept = None if owned.file is None else _keep_copy(folder, owned.file, content["output"]["content_digest"])
    if owned.file is not None and kept is None:
        notes.append(f"{owned.file.absolute().parent} takes no copy of {MANIFEST_NAME}; keep one with the key yourself")
    return ProtectReport(
        out=folder,
        method=method.name,
        parameters=content["parameters"],
        key_id=content["key_id"],
        content_digest=content["output"]["content_digest"],
        limit=prepared.limit,
        realigned=realigned,
        adapters=tuple(map(str, moved)) or None,
        notes=tuple(notes) or None,
        manifest_file=None if kept is None else str(kept),
        variant=prepared.variant,
        key_file=None if owned.file is None else str(owned.file),
        key_made=owned.made,
    )


def plan_protect(
    model: Model,
    *,
    method: Protection | None = None,
    base: Model | None = None,
    text: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    shard_bytes: int | None = None,
    download: bool = False,
) -> ProtectPlan:
    """Return what ``protect`` would do, after the checks that need no weights."""
    with ExitStack() as stack:
        source = _first(stack, model, download)
        anchor = None if base is None else _first(stack, base, download)
        if anchor is not None:
            verbs.check_realign(source, anchor)
        pictures = _pictures(source, images)
        plan = verbs.dry_run(
            source, method or Exact(), base=anchor, text=_words(text), images=pictures, shard_bytes=shard_bytes
        )
    return ProtectPlan(**plan)


def _words(text: str | os.PathLike[str] | None) -> str | None:
    if text is None:
        return None
    from mergebarrier.evaluate import read_text

    return read_text(text)


def _pictures(source: Checkpoint, images: str | os.PathLike[str] | None) -> "Tensor | None":
    if images is None:
        return None
    from mergebarrier.evaluate import training_pictures

    return training_pictures(source, images)


def _first(stack: ExitStack, model: Model, download: bool) -> Checkpoint:
    return stack.enter_context(opened(model, download=download))[0]


def _experts(
    stack: ExitStack, source: Checkpoint, adapters: Sequence[str | os.PathLike[str]], download: bool
) -> "list[AdaptedCheckpoint]":
    """Open adapters on the model that is protected; UsageError where two would be written to one folder."""
    found = [resolve(adapter, download=download) for adapter in adapters]
    folders = [folder for folder in found if isinstance(folder, Path)]
    if len({folder.name for folder in folders}) < len(folders):
        raise UsageError("two adapters have one name", where="--adapter", remedy="rename the folder of one")
    return [verbs.Models(stack).expert(source, folder) for folder in folders]


def _undone(source: Checkpoint, folder: Path, anchor: Checkpoint, progress: Progress | None) -> "verbs.Undone":
    """Run the cheap attack on what was just written and say how much of the change it takes back."""
    with opened(folder) as (published,), shown(progress, "realigning it, as an attacker would") as step:
        return verbs.undone_by_realignment(source, published, anchor, progress=step)


@dataclass(frozen=True, kw_only=True)
class _Owned:
    """The key of a run: its file, if it has one, what writes a new one, and what says that it is in use now."""

    key: Key | None = None
    file: Path | None = None
    made: bool = False
    write: Callable[[], None] | None = None
    keep: Callable[[], None] = lambda: None


@contextmanager
def _key_for(method: Protection, given: Key | str | os.PathLike[str] | None, out: Path) -> Iterator[_Owned]:
    """Give the key to protect with; a new one goes again if its run leaves nothing behind."""
    if not method.keyed or isinstance(given, Key):
        yield _Owned(key=given if isinstance(given, Key) else None)
        return
    place = Path(given) if given is not None else out.with_name(out.name + KEY_SUFFIX)
    if place.resolve().is_relative_to(out.resolve()):
        raise UsageError("the key would be published with the model", where=place, remedy="keep it outside the folder")
    check_key_place(place)
    if place.exists() or place.is_symlink():
        yield _Owned(key=Key(read_key_file(place)), file=place)
        return
    key, written = Key(secrets.token_bytes(KEY_BYTES)), list[Path]()

    def write() -> None:
        write_key_file(place, key.secret)
        written.append(place)

    try:
        yield _Owned(key=key, file=place, made=True, write=write, keep=written.clear)
    except BaseException as error:
        if written and not out.with_name(out.name + ".partial").exists():
            place.unlink()
        elif written:
            error.add_note(f"key {key.id} made: {place}")
        raise


def _keep_copy(folder: Path, key_file: Path, digest: str) -> Path | None:
    """Keep the manifest beside the key, under the name of the folder; None where that cannot be written."""
    text = (folder / MANIFEST_NAME).read_bytes()
    for name in (f"{folder.absolute().name}{COPY_SUFFIX}", f"{folder.absolute().name}-{digest[:8]}{COPY_SUFFIX}"):
        place = key_file.with_name(name)
        try:
            with place.open("xb") as file:
                file.write(text)
        except FileExistsError:
            if not place.is_file() or place.read_bytes() != text:
                continue  # of another model of this name, which needs it
        except OSError:
            return None
        return place
    return None
