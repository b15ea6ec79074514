"""From the name of a model to its folder: a folder, or a snapshot that the Hugging Face cache holds already.

    owner/name[@revision]  ->  CACHE/models--owner--name/snapshots/REFS[revision or main]

Nothing is downloaded. Source: the layout of huggingface_hub's cache, read as files.
"""

import os
import re
from pathlib import Path

from mergebarrier.errors import BadRecipe, clean

__all__ = ["folder_of"]

_HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def folder_of(name: str, revision: str | None, where: str) -> Path:
    """Return the folder that a model's name means.

    Args:
      name:     a folder, or a name of the hub.
      revision: of a name of the hub.
      where:    named in errors.
    Raises: BadRecipe that says which folders were tried.
    """
    folder = Path(name)
    tried = clean(folder.absolute())
    if revision is not None and (folder.is_dir() or not _HUB_NAME.fullmatch(name)):
        raise BadRecipe(
            f"the revision {clean(revision)!r} of a local folder is not known, tried {tried}",
            where=where,
            remedy="give the folder of that revision",
        )
    if folder.is_dir():
        return folder
    remedy = "download the model, give its folder"
    if not _HUB_NAME.fullmatch(name):
        raise BadRecipe(f"no such folder, tried {tried}", where=where, remedy=remedy)
    cached = _cache() / f"models--{name.replace('/', '--')}"
    snapshot = _snapshot(cached, revision or "main")
    if snapshot is None or not snapshot.is_dir():
        what = f"no such folder, and no snapshot {clean(revision or 'main')!r} in the cache, tried {tried} and "
        raise BadRecipe(what + clean(cached), where=where, remedy=remedy)
    return snapshot


def _cache() -> Path:
    hub, home = os.environ.get("HF_HUB_CACHE"), os.environ.get("HF_HOME")
    if hub:
        return Path(hub)
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"


def _snapshot(cached: Path, revision: str) -> Path | None:
    """Return the folder of a revision; a name that climbs out of the cache is none."""
    if not _REVISION.fullmatch(revision) or ".." in revision.split("/"):
        return None
    reference = cached / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    return cached / "snapshots" / commit if _COMMIT.fullmatch(commit) else None
