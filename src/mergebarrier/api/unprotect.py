"""``unprotect``: restore the model that a protected one was made from, and promise what a key vouches for.

The key is the one that was given, or the fitting one next to the folder.  The manifest is that of the folder, the one
that was given, or the copy that ``protect`` kept beside the key.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, WriteOptions, beside, opened, optional, shown
from mergebarrier.api.protect import COPY_SUFFIX, KEY_SUFFIX
from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, read_manifest
from mergebarrier.errors import CheckpointError, KeyMismatch
from mergebarrier.keys import Key, key_id, read_key_file
from mergebarrier.progress import Progress

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import Manifest, ProtectContent

#: So many copies of manifests beside a key are looked through for the one of a folder that lost its own.
_MAX_COPIES = 256


@dataclass(frozen=True, kw_only=True)
class UnprotectReport(Report):
    """What was restored.

    Attributes:
      out:             the folder.
      method:          of the protection.
      bit_identical:   every tensor has the digest that the manifest names.
      roundtrip_bound: largest relative error of a tensor, 0 where every bit came back: as the manifest says, if the
                       key vouches for it, else as measured here.
      authenticated:   whether the key vouches for the manifest.
      content_digest:  of the weights.
      changed:         side files that are not as `protect` wrote them, and were copied as they are; None for none.
      notes:           what no output gets of the folder; None where nothing is left out.
      key_file:        the key that was used; None for a method without one, or a key that was given as such.
    """

    kind: ClassVar[str] = "unprotect"

    out: Path
    method: str
    bit_identical: bool
    roundtrip_bound: float
    authenticated: bool
    content_digest: str
    changed: tuple[str, ...] | None = optional()
    notes: tuple[str, ...] | None = optional()
    key_file: str | None = beside(None)

    @property
    def promise(self) -> str:
        """What came back, in words."""
        promise = _promise(self.bit_identical, self.roundtrip_bound, self.authenticated)
        return promise if self.changed is None else f"the weights, {promise}"


@dataclass(frozen=True, kw_only=True)
class UnprotectPlan(Report):
    """What ``unprotect`` would restore, and the key that it needs."""

    kind: ClassVar[str] = "plan"

    method: str
    key_id: str | None
    restores: str


def unprotect(
    model: Model,
    out: str | os.PathLike[str],
    *,
    key: Key | str | os.PathLike[str] | None = None,
    manifest: str | os.PathLike[str] | None = None,
    write: WriteOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> UnprotectReport:
    """Restore the model that a protected one was made from.

    Args:
      model:    the protected folder.
      out:      the folder to write.
      key:      the owner's key or its file; default: the fitting one next to the folder.
      manifest: the file that `protect` kept beside the key; default: that of the folder, or a fitting one by the key.
      write:    how the folder is written.
      download: fetch models that the local cache lacks.
      progress: called with (bytes done, bytes in all).
    Raises: NotProtected, KeyMismatch, BadManifest, DigestMismatch, BadKey, CheckpointError; nothing is left then.
    """
    folder, write = Path(out), write or WriteOptions()
    with opened(model, download=download) as (source,), shown(progress, "restoring") as step:
        found, owned, file = _found(source, key, manifest)
        content = verbs.unprotect(source, owned, write.into(folder, step), found)
        was = cast("ProtectContent", found["content"])
        changed = verbs.changed_files(source, was)
    return UnprotectReport(
        out=folder,
        method=was["method"],
        bit_identical=was["parameters"]["reversibility"] == "exact",
        roundtrip_bound=content["roundtrip_bound"],
        authenticated=content.get("authenticated", False),
        content_digest=content["output"]["content_digest"],
        changed=changed or None,
        notes=source.folder_notes or None,
        key_file=None if file is None else str(file),
    )


def plan_unprotect(
    model: Model,
    *,
    key: Key | str | os.PathLike[str] | None = None,
    manifest: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> UnprotectPlan:
    """Return what ``unprotect`` would restore, from key and manifest alone."""
    with opened(model, download=download) as (source,):
        found, owned, _ = _found(source, key, manifest)
        was, sealed = cast("ProtectContent", found["content"]), verbs.authenticated(found, owned, source)
    exact = was["parameters"]["reversibility"] == "exact"
    restores = _promise(exact, was["roundtrip_bound"], sealed) if exact or sealed else "within a bound to be measured"
    return UnprotectPlan(method=was["method"], key_id=was["key_id"], restores=restores)


def _promise(exact: bool, bound: float, authenticated: bool) -> str:
    what = "bit for bit" if exact else f"within {bound:.1e} (relative, per tensor)"
    if authenticated:
        return what
    return f"to the digests of a manifest that no key vouches for ({what})" if exact else f"{what}, as measured here"


def _found(
    source: Checkpoint, key: Key | str | os.PathLike[str] | None, file: str | os.PathLike[str] | None
) -> "tuple[Manifest, Key | None, Path | None]":
    """Return manifest and key of a protected folder, and the file of the key."""
    given = None if key is None else _owned(key)
    if file is None and not (source.root / MANIFEST_NAME).exists():
        keys = [given[1]] if given is not None else _places(source)
        file = next((copy for place in keys if place is not None for copy in _copies(place, source)), None)
    manifest = verbs.protection_manifest(source, None if file is None else Path(file))
    owned, place = given or _beside(source, cast("ProtectContent", manifest["content"])["key_id"])
    return manifest, owned, place


def _copies(key_file: Path, source: Checkpoint) -> list[Path]:
    """Return the manifests beside a key that are of this model: those that name the digest of its weights."""
    found = []
    for path in sorted(key_file.parent.glob(f"*{COPY_SUFFIX}"))[:_MAX_COPIES]:
        with suppress(CheckpointError, KeyError):
            content = read_manifest(path.parent, name=path.name)["content"]
            if content["output"]["content_digest"] == source.content_digest():
                found.append(path)
    return found


def _owned(key: Key | str | os.PathLike[str]) -> tuple[Key, Path | None]:
    return (key, None) if isinstance(key, Key) else (Key(read_key_file(key)), Path(key))


def _beside(source: Checkpoint, wanted: str | None) -> tuple[Key | None, Path | None]:
    """Return the key next to a protected folder, under the name that it was given or its own."""
    if wanted is None:
        return None, None
    places = _places(source)
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


def _places(source: Checkpoint) -> list[Path]:
    """Return where the key of a folder is looked for."""
    return list(dict.fromkeys(folder.with_name(folder.name + KEY_SUFFIX) for folder in (source.path, source.root)))
