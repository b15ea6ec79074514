"""``protect`` and ``unprotect``: write a model in other coordinates, and back, and report the limits of each.

The key of a keyed method is read, or made and written once nothing is left to refuse, before the first byte of the
model; it is written next to the folder, never inside.  What was made for a run that leaves nothing behind goes with it.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, WriteOptions, beside, opened, optional, shown
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import KeyMismatch, UsageError
from mergebarrier.keys import KEY_BYTES, Key, key_id, read_key_file, write_key_file
from mergebarrier.progress import Progress
from mergebarrier.protect import Exact, Protection

_SUFFIX = ".mbkey"


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
      notes:          what no output gets of the model's folder; None where nothing is left out.
      variant:        which form of the method acted.
      key_file:       path of the key; None for a method without one, or a key that was given as such.
      key_made:       whether it was made just now.
    """

    kind: ClassVar[str] = "protect"

    out: Path
    method: str
    parameters: Mapping[str, object]
    key_id: str | None
    content_digest: str
    limit: str
    realigned: "verbs.Undone | None" = optional()
    notes: tuple[str, ...] | None = optional()
    variant: str = beside("")
    key_file: str | None = beside(None)
    key_made: bool = beside(False)


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


@dataclass(frozen=True, kw_only=True)
class UnprotectReport(Report):
    """What was restored.

    Attributes:
      out:             the folder.
      method:          of the protection.
      bit_identical:   every bit came back, which was checked.
      roundtrip_bound: largest relative error of a tensor, 0 where every bit came back.
      content_digest:  of the weights.
      notes:           what no output gets of the folder; None where nothing is left out.
      key_file:        the key that was used; None for a method without one, or a key that was given as such.
    """

    kind: ClassVar[str] = "unprotect"

    out: Path
    method: str
    bit_identical: bool
    roundtrip_bound: float
    content_digest: str
    notes: tuple[str, ...] | None = optional()
    key_file: str | None = beside(None)

    @property
    def promise(self) -> str:
        """What came back, in words."""
        return _promise(self.bit_identical, self.roundtrip_bound)


@dataclass(frozen=True, kw_only=True)
class UnprotectPlan(Report):
    """What ``unprotect`` would restore, and the key that it needs."""

    kind: ClassVar[str] = "plan"

    method: str
    key_id: str | None
    restores: str


def protect(
    model: Model,
    out: str | os.PathLike[str],
    *,
    method: Protection | None = None,
    key: Key | str | os.PathLike[str] | None = None,
    base: Model | None = None,
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
        if anchor is not None:
            verbs.check_realign(source, anchor)
        with _key_for(method, key, folder) as owned, shown(progress, "protecting") as step:
            content, prepared = verbs.protect(
                source, method, owned.key, write.into(folder, step),
                base=anchor, ready=owned.write, do_not_merge=do_not_merge,
            )  # fmt: skip
        realigned = None if anchor is None else _undone(source, folder, anchor, progress)
    return ProtectReport(
        out=folder,
        method=method.name,
        parameters=content["parameters"],
        key_id=content["key_id"],
        content_digest=content["output"]["content_digest"],
        limit=prepared.limit,
        realigned=realigned,
        notes=source.folder_notes or None,
        variant=prepared.variant,
        key_file=None if owned.file is None else str(owned.file),
        key_made=owned.made,
    )


def plan_protect(
    model: Model, *, method: Protection | None = None, base: Model | None = None, download: bool = False
) -> ProtectPlan:
    """Return what ``protect`` would do, after the checks that need no weights."""
    with ExitStack() as stack:
        source = _first(stack, model, download)
        anchor = None if base is None else _first(stack, base, download)
        if anchor is not None:
            verbs.check_realign(source, anchor)
        plan = verbs.dry_run(source, method or Exact(), base=anchor)
    return ProtectPlan(**plan)


def unprotect(
    model: Model,
    out: str | os.PathLike[str],
    *,
    key: Key | str | os.PathLike[str] | None = None,
    write: WriteOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> UnprotectReport:
    """Restore the model that a protected one was made from.

    Args:
      model:    the protected folder, as ``protect`` wrote it.
      out:      the folder to write.
      key:      the owner's key or its file; default: the fitting one next to the folder.
      write:    how the folder is written.
      download: fetch models that the local cache lacks.
      progress: called with (bytes done, bytes in all).
    Raises: NotProtected, KeyMismatch, DigestMismatch, BadKey, CheckpointError.
    """
    folder, write = Path(out), write or WriteOptions()
    with opened(model, download=download) as (source,), shown(progress, "restoring") as step:
        was = verbs.protection_manifest(source)
        owned, file = _owned(key) if key is not None else _beside(source, was["key_id"])
        content = verbs.unprotect(source, owned, write.into(folder, step))
    return UnprotectReport(
        out=folder,
        method=was["method"],
        bit_identical=was["parameters"]["reversibility"] == "exact",
        roundtrip_bound=was["roundtrip_bound"],
        content_digest=content["output"]["content_digest"],
        notes=source.folder_notes or None,
        key_file=None if file is None else str(file),
    )


def plan_unprotect(model: Model, *, download: bool = False) -> UnprotectPlan:
    """Return what ``unprotect`` would restore, from the manifest alone."""
    with opened(model, download=download) as (source,):
        was = verbs.protection_manifest(source)
    promise = _promise(was["parameters"]["reversibility"] == "exact", was["roundtrip_bound"])
    return UnprotectPlan(method=was["method"], key_id=was["key_id"], restores=promise)


def _first(stack: ExitStack, model: Model, download: bool) -> Checkpoint:
    return stack.enter_context(opened(model, download=download))[0]


def _promise(exact: bool, bound: float) -> str:
    return "bit for bit" if exact else f"within {bound:.1e} (relative, per tensor)"


def _undone(source: Checkpoint, folder: Path, anchor: Checkpoint, progress: Progress | None) -> "verbs.Undone":
    """Run the cheap attack on what was just written and say how much of the change it takes back."""
    with opened(folder) as (published,), shown(progress, "realigning it, as an attacker would") as step:
        return verbs.undone_by_realignment(source, published, anchor, progress=step)


@dataclass(frozen=True, kw_only=True)
class _Owned:
    """The key of a run: its file, if it has one, and what writes a new one."""

    key: Key | None = None
    file: Path | None = None
    made: bool = False
    write: Callable[[], None] | None = None


@contextmanager
def _key_for(method: Protection, given: Key | str | os.PathLike[str] | None, out: Path) -> Iterator[_Owned]:
    """Give the key to protect with; a new one goes again if its run leaves nothing behind."""
    if not method.keyed or isinstance(given, Key):
        yield _Owned(key=given if isinstance(given, Key) else None)
        return
    place = Path(given) if given is not None else out.with_name(out.name + _SUFFIX)
    if place.is_relative_to(out):
        raise UsageError("the key would be published with the model", where=place, remedy="keep it outside the folder")
    if place.exists() or place.is_symlink():
        yield _Owned(key=Key(read_key_file(place)), file=place)
        return
    key, written = Key(secrets.token_bytes(KEY_BYTES)), list[Path]()

    def write() -> None:
        write_key_file(place, key.secret)
        written.append(place)

    try:
        yield _Owned(key=key, file=place, made=True, write=write)
    except BaseException as error:
        if written and not out.with_name(out.name + ".partial").exists():
            place.unlink()
        elif written:
            error.add_note(f"key {key.id} made: {place}")
        raise


def _owned(key: Key | str | os.PathLike[str]) -> tuple[Key, Path | None]:
    return (key, None) if isinstance(key, Key) else (Key(read_key_file(key)), Path(key))


def _beside(source: Checkpoint, wanted: str | None) -> tuple[Key | None, Path | None]:
    """Return the key next to a protected folder, under the name that it was given or its own."""
    if wanted is None:
        return None, None
    places = dict.fromkeys(folder.with_name(folder.name + _SUFFIX) for folder in (source.path, source.root))
    for place in places:
        if place.exists():
            secret = read_key_file(place)
            if key_id(secret) == wanted:
                return Key(secret), place
    raise KeyMismatch(
        f"this model was protected with key {wanted}, and none of {', '.join(map(str, places))} is that key",
        where=source.path,
        remedy="give --key with the file that `protect` made",
    )
