"""Models of the Hugging Face Hub: found in the local cache, or fetched into it at one commit, safetensors and text
files only.

    owner/name[@revision]  ->  CACHE/models--owner--name/snapshots/REFS[revision or main]

The cache is read as files, by its published layout, so that finding a model needs no extra and opens no connection.
Fetching goes through huggingface_hub: a revision becomes a commit first, everything is fetched of that commit, and the
commit is what the revision means from then on.  A pickle or a program is never asked for.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from mergebarrier.addresses import ADDRESS
from mergebarrier.checkpoint import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    INDEX,
    MODULES,
    SIDE_FILES,
    SINGLE,
    chosen_below,
    is_text,
    module_folders,
    read_shard_names,
)
from mergebarrier.errors import FetchFailed, MissingExtra, NotACheckpoint, clean

if TYPE_CHECKING:
    from types import ModuleType

HUB_NAME: Final = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
REVISION: Final = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def at_hub(text: str) -> str:
    """Return ``owner/name[@revision]`` for an address of a model of the Hub, and any other text as it is.

    Example:
      >>> at_hub("https://huggingface.co/owner/name/tree/main"), at_hub("hf://owner/name@v1"), at_hub("a/b")
      ('owner/name@main', 'owner/name@v1', 'a/b')
    """
    found = ADDRESS.fullmatch(text)
    if found is None or not HUB_NAME.fullmatch(found["name"]):
        return text
    name, revision = found["name"], unquote(found["at"] or found["of"] or "")
    return f"{name}@{revision}" if revision else name


def find_folder(name: str, revision: str | None = None, *, download: bool = False) -> Path:
    """Return the folder that the name of a model means; a folder of that name wins over the Hub.

    Args:
      name:     a folder, or ``owner/name``.
      revision: a branch, a tag or a commit of ``owner/name``; default "main".
      download: fetch what the cache lacks.
    Raises: NotACheckpoint that says which folders were tried; FetchFailed; MissingExtra without huggingface_hub.
    """
    folder, known = Path(name), at_hub(name)
    if known != name and not folder.is_dir():
        name, _, said = known.partition("@")
        folder, revision = Path(name), revision or said or None
    tried = clean(folder.absolute())
    if revision is not None and (folder.is_dir() or not HUB_NAME.fullmatch(name)):
        raise NotACheckpoint(
            f"the revision {clean(revision)!r} of a local folder is not known; tried {tried}",
            where=name,
            remedy="give the folder of that revision",
        )
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(name):
        raise NotACheckpoint(
            f"there is no such folder; tried {tried}",
            where=name,
            remedy="write owner/name for a model of the Hub, or download it and give its folder",
        )
    cached, commit, snapshot = _cached(name, revision or "main")
    if download and (snapshot is None or not _is_whole(snapshot)):
        return _fetched(name, revision or "main", commit, cached)
    if snapshot is None or not snapshot.is_dir():
        what = f"no such folder, and no snapshot {clean(revision or 'main')!r} in the cache, tried {tried} and "
        remedy = "give its folder, or fetch it with --download (in Python: download=True)"
        raise NotACheckpoint(what + clean(cached), where=name, remedy=remedy)
    return snapshot


def cached_folder(name: str) -> Path | None:
    """Return the newest folder of ``owner/name`` in the cache, which may hold its words only; None for no such.

    The Hub does not tell capital letters apart in a name, and an old model may have no owner.
    """
    wanted, place = f"models--{name.replace('/', '--')}".casefold(), cache_folder()
    found = sorted(entry for entry in os.listdir(place) if entry.casefold() == wanted) if place.is_dir() else []
    snapshots = [place / one / "snapshots" / (_commit_of(place / one, "main") or "") for one in found]
    return next((one for one in snapshots if one.name != "snapshots" and one.is_dir()), None)


def _cached(name: str, revision: str) -> tuple[Path, str | None, Path | None]:
    """Return where the cache keeps a model, the commit that a revision means there, and the folder of that."""
    cached = cache_folder() / f"models--{name.replace('/', '--')}"
    commit = _commit_of(cached, revision)
    return cached, commit, None if commit is None else cached / "snapshots" / commit


def cache_folder() -> Path:
    """Return the folder of the Hub's cache, as huggingface_hub finds it."""
    hub, home, xdg = (os.environ.get(name) for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"))
    if hub:
        return Path(hub)
    if home:
        return Path(home) / "hub"
    return (Path(xdg) if xdg else Path.home() / ".cache") / "huggingface" / "hub"


def _commit_of(cached: Path, revision: str) -> str | None:
    """Return the commit that a revision means in the cache; a name that climbs out of the cache means none."""
    if not REVISION.fullmatch(revision) or ".." in revision.split("/"):
        return None
    reference = cached / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    return commit if _COMMIT.fullmatch(commit) else None


def _is_whole(snapshot: Path) -> bool:
    """Say whether a snapshot holds the weights that it names; another program may have fetched its words only."""
    if (snapshot / INDEX).exists():
        return all((snapshot / shard).exists() for shard in read_shard_names(snapshot))
    return any((snapshot / name).exists() for name in (SINGLE, ADAPTER_WEIGHTS))


def _fetched(name: str, revision: str, commit: str | None, cached: Path) -> Path:
    """Fetch one commit; the shards are those that its index lists."""
    hub = _library()
    failures = (OSError, ValueError, hub.errors.HTTPError)
    try:
        pinned: str = commit or hub.HfApi().model_info(name, revision=revision).sha
        fetch = {"repo_id": name, "revision": pinned, "cache_dir": cached.parent}
        wanted = (*SIDE_FILES, SINGLE, INDEX, ADAPTER_CONFIG, ADAPTER_WEIGHTS)
        there = hub.HfApi().list_repo_files(name, revision=pinned)
        names = [file for file in there if file in wanted or is_text(file)]
        snapshot = Path(hub.snapshot_download(**fetch, allow_patterns=names or [SINGLE]))
        further = read_shard_names(snapshot) if (snapshot / INDEX).exists() else []
        modules = module_folders(snapshot.resolve()) if (snapshot / MODULES).exists() else ()
        further += [file for file in there if chosen_below(file, modules)]
        if further:
            hub.snapshot_download(**fetch, allow_patterns=further)
    except failures as error:
        raise FetchFailed(
            f"cannot be fetched at revision {clean(revision)!r} ({clean(error) or type(error).__name__})",
            where=name,
            remedy="check the name, the revision, the connection and HF_HUB_OFFLINE",
        ) from error
    if not _is_whole(snapshot):
        raise NotACheckpoint(
            f"commit {pinned} holds no safetensors weights", where=name, remedy="choose a model that has them"
        )
    if not _COMMIT.fullmatch(revision):
        reference = cached / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(pinned)
    return snapshot


def _library() -> "ModuleType":
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise MissingExtra(
            "fetching a model needs the extra 'eval'",
            where="huggingface_hub",
            remedy="pip install 'mergebarrier[eval]'",
        ) from error
    return huggingface_hub
