"""Claim a place for an output: who may write there, what may be removed, and that one run at a time does.

Everything is written below ``DIR.partial``; ``DIR`` itself appears in one rename when all is complete.

    DIR.partial/plan.json     what is being made: resuming needs the same bytes
    DIR.partial/tasks/*.done  digests of finished units
    DIR.partial/model/        the folder that becomes DIR; its weights end in ".part" until they are verified
    DIR.partial/overwrite     there if the run may replace DIR, so that resuming it may as well

Source: POSIX rename and flock.  Differs from a scheme with temporary names in DIR: nothing below DIR.partial has the
shape of a model folder at its top, whenever the process dies.
"""

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergebarrier.checkpoint.bytes import inside, on_disk
from mergebarrier.checkpoint.files import MANIFEST_NAME, listed_files, read_finished
from mergebarrier.errors import (
    CheckpointError,
    NoSpace,
    NotACheckpoint,
    OutputExists,
    PartialOutput,
    UnsafePath,
)

_OWN_NAMES = frozenset({"plan.json", "plan.json.new", "tasks", "model", "overwrite"})
_SPARE = 1.01


@dataclass(frozen=True)
class OutputPlace:
    """Paths of one output."""

    out: Path

    @property
    def partial(self) -> Path:
        """The folder of the unfinished run."""
        return self.out.with_name(self.out.name + ".partial")

    @property
    def replaced(self) -> Path:
        """Where an old output is kept while the new one takes its name."""
        return self.out.with_name(self.out.name + ".replaced")

    @property
    def model(self) -> Path:
        """The folder that will be renamed."""
        return self.partial / "model"

    @property
    def tasks(self) -> Path:
        """Records of finished units."""
        return self.partial / "tasks"

    @property
    def overwrites(self) -> Path:
        """The mark of a run that may replace an old output."""
        return self.partial / "overwrite"

    @property
    def plan(self) -> Path:
        """The plan document."""
        return self.partial / "plan.json"


def find_place(out: str | os.PathLike[str], inputs: Sequence[str | os.PathLike[str]]) -> OutputPlace:
    """Resolve the output's parent and check that the output touches no input.

    Args:
      out:    the folder to be made.
      inputs: folders that are read.
    Returns: OutputPlace.
    Raises:  OutputExists when one is inside the other; UnsafePath when the output is a link.
    """
    out = Path(out)
    if out.name in ("", ".", ".."):
        out = out.resolve()
    if not out.name:
        raise OutputExists("this is the root of all folders", where=out, remedy="choose another output folder")
    place = OutputPlace(out.parent.resolve() / out.name)
    for path in (place.out, place.partial, place.replaced):
        if path.is_symlink():
            raise UnsafePath(
                "the output is a link, and links are not followed for writing",
                where=path,
                remedy="choose a folder that is not a link",
            )
        for given in inputs:
            source = Path(given).resolve()
            if inside(path, source) or inside(source, path):
                raise OutputExists(
                    f"one of the output {path} and the input {source} is inside the other",
                    where=given,
                    remedy="choose an output folder outside the input",
                )
    return place


def finished_digests(place: OutputPlace, digest: str) -> dict[str, str] | None:
    """Return the tensor digests of the output when it is complete and was made by the plan with this digest."""
    try:
        content = read_finished(place.out, ours=True)["content"]
        return dict(content["output"]["tensors"]) if content.get("plan_sha256") == digest else None
    except (CheckpointError, KeyError, TypeError, ValueError):
        return None


def check_out_free(place: OutputPlace, *, overwrite: bool) -> None:
    """Raise OutputExists unless the output is absent, empty, or ours to be replaced."""
    out = place.out
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise OutputExists("this is a file", where=out, remedy="choose another output folder")
    if not any(out.iterdir()):
        return
    if not overwrite and not place.overwrites.exists():
        raise OutputExists("the folder is not empty", where=out, remedy="choose another one, or give --overwrite")
    for folder in (out, place.replaced):
        try:
            foreign = _foreign(folder)
        except CheckpointError as fault:
            raise OutputExists(
                "the folder holds no manifest of mergebarrier, so --overwrite will not remove it",
                where=folder,
                remedy="choose another output folder, or remove this one yourself",
            ) from fault
        if foreign:
            raise OutputExists(
                "the manifest does not list this file, so --overwrite will not remove it",
                where=folder / foreign[0],
                remedy="move it elsewhere, or choose another output folder",
            )


def _foreign(folder: Path) -> list[str]:
    """Return what lies in an old output beside the files that its manifest lists; nothing for no folder."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return []
    return sorted(_unlisted(folder, {*listed_files(folder), MANIFEST_NAME}))


def _unlisted(folder: Path, listed: Collection[str], before: str = "") -> Iterator[str]:
    for path in folder.iterdir():
        name = before + path.name
        if path.is_dir() and not path.is_symlink() and any(one.startswith(f"{name}/") for one in listed):
            yield from _unlisted(path, listed, f"{name}/")
        elif name not in listed or path.is_dir():
            yield name


def drop_leftover(place: OutputPlace, plan: bytes) -> None:
    """Remove what a run with this plan left behind when it died after its output was complete."""
    if not place.partial.is_dir():
        return
    lock = claim_partial(place, resume=True, overwrite=False)
    try:
        if not any(place.partial.iterdir()) or (place.plan.is_file() and place.plan.read_bytes() == plan):
            _remove_replaced(place)
            remove_partial(place)
    finally:
        os.close(lock)


def remove_partial(place: OutputPlace) -> None:
    """Remove the partial folder, the plan last: while anything is left, it says whose it is."""
    remove_tree(place.partial, last=place.plan.name)


def claim_partial(place: OutputPlace, *, resume: bool, overwrite: bool) -> int:
    """Make or take over the partial folder and lock it.

    Returns: descriptor that holds the lock until it is closed.
    Raises:  PartialOutput when there is an unfinished run and neither flag is given, or another process writes.
    """
    partial = place.partial
    fresh = False
    try:
        with on_disk(partial):
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
        fresh = True
    except FileExistsError:
        pass
    except OSError as fault:
        raise NotACheckpoint(
            f"cannot be created ({fault.strerror})", where=partial, remedy="choose an output folder that you may write"
        ) from fault
    if not fresh and not (resume or overwrite):
        raise PartialOutput(
            "there is an unfinished run",
            where=partial,
            remedy="give --resume to finish it, --overwrite to start again",
        )
    if not partial.is_dir():
        raise OutputExists("this is a file", where=partial, remedy="remove it")
    lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _lock(lock, partial)
        if not fresh and not resume:
            _empty(place)
        elif not fresh:
            _check_own(place)
        if overwrite:
            place.overwrites.touch()
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lock(lock: int, partial: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        raise PartialOutput(
            "another process is writing here", where=partial, remedy="wait for it, or choose another output folder"
        ) from fault


def _empty(place: OutputPlace) -> None:
    """Remove the contents of an old partial folder, if it is one."""
    names = _check_own(place)
    # The plan goes first: without it, whatever a crash leaves here is started again.
    place.plan.unlink(missing_ok=True)
    for name in names:
        path = place.partial / name
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def _check_own(place: OutputPlace) -> list[str]:
    """Return the names in a partial folder, all of them ours; PartialOutput for another, which would be removed."""
    names = os.listdir(place.partial)
    foreign = min((name for name in names if name not in _OWN_NAMES), default=None)
    if foreign is not None:
        raise PartialOutput(
            "this file was not written by mergebarrier, so the folder will not be used or removed",
            where=place.partial / foreign,
            remedy="move it elsewhere",
        )
    return names


def check_space(place: OutputPlace, needed_bytes: int) -> None:
    """Raise NoSpace unless ``needed_bytes`` and one per cent are free where the output goes."""
    free = shutil.disk_usage(place.partial).free
    if free < needed_bytes * _SPARE:
        raise NoSpace(
            f"{needed_bytes} bytes are needed, {free} are free",
            where=place.partial,
            remedy="free space, or choose an output folder on another disk",
        )


def publish(place: OutputPlace) -> None:
    """Rename the finished folder to its name; an old output is moved aside first and removed last.

    Two renames are not one atom: a crash between them leaves the old output at DIR.replaced and the new one, complete,
    below DIR.partial, where --resume finds it.
    """
    old = place.out.is_dir() and any(place.out.iterdir())
    if old:
        check_out_free(place, overwrite=False)  # it may have come while this run was writing
        _remove_replaced(place)
        os.rename(place.out, place.replaced)
    os.rename(place.model, place.out)
    _remove_replaced(place)


def _remove_replaced(place: OutputPlace) -> None:
    """Remove an old output, the manifest last: it is what allows the removal, should this run die before the end."""
    if place.replaced.is_dir() and not _foreign(place.replaced):
        remove_tree(place.replaced)


def remove_tree(folder: Path, *, last: str = MANIFEST_NAME) -> None:
    """Remove a folder, weights first and ``last`` last: a model of which anything is gone does not load."""
    for path in sorted(
        folder.iterdir(), key=lambda path: (path.name == last, path.suffix != ".safetensors", path.name)
    ):
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()
    folder.rmdir()
