"""A place for an output: where its files go, that one run at a time works there, and the renames that show it.

Everything is written below ``DIR.partial``; ``DIR`` itself appears in one rename when all is complete.

    DIR.partial/plan.json     what is being made: resuming needs the same bytes
    DIR.partial/tasks/*.done  digests of finished units
    DIR.partial/model/        the folder that becomes DIR; its weights end in ".part" until they are verified
    DIR.partial/overwrite     there if the run may replace DIR, so that resuming it may as well

Source: POSIX rename and flock.  Differs from a scheme with temporary names in DIR: nothing below DIR.partial has the
shape of a model folder at its top, whenever the process dies.
"""

import contextlib
import fcntl
import os
import re
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

#: Names of records of finished units.
RECORD = re.compile(r"[0-9a-f]{32}\.(?:done|new)")
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

    @property
    def plan_draft(self) -> Path:
        """The plan document before its folder is ready, and once the folder is being emptied."""
        return self.partial / "plan.json.new"


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
    return sorted(unlisted(folder, {*listed_files(folder), MANIFEST_NAME}))


def unlisted(folder: Path, listed: Collection[str], before: str = "") -> Iterator[str]:
    """Yield the names below a folder that are not on a list, a folder of which nothing is listed by its own name."""
    for path in folder.iterdir():
        name = before + path.name
        if path.is_dir() and not path.is_symlink() and any(one.startswith(f"{name}/") for one in listed):
            yield from unlisted(path, listed, f"{name}/")
        elif name not in listed or path.is_dir():
            yield name


def check_claimable(
    out: str | os.PathLike[str], inputs: Sequence[str | os.PathLike[str]], *, resume: bool, overwrite: bool
) -> None:
    """Raise at once, and not after hours of training, where an output could not be written.

    Raises: OutputExists, UnsafePath, PartialOutput.
    """
    place = find_place(out, inputs)
    if not resume:
        check_out_free(place, overwrite=overwrite)
    if place.partial.is_dir() and not (resume or overwrite):
        raise _unfinished(place.partial)


def _unfinished(partial: Path) -> PartialOutput:
    remedy = "give --resume to finish it, --overwrite to start again"
    return PartialOutput("there is an unfinished run", where=partial, remedy=remedy)


def claim_partial(place: OutputPlace, *, may_be_there: bool) -> tuple[int, bool]:
    """Make or take over the partial folder and lock it.

    Returns: descriptor that holds the lock until it is closed, and whether the folder was made.
    Raises:  PartialOutput when there is an unfinished run that may not be there, or another process writes.
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
    if not fresh and not may_be_there:
        raise _unfinished(partial)
    if not partial.is_dir():
        raise OutputExists("this is a file", where=partial, remedy="remove it")
    lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _lock(lock, partial)
    except BaseException:
        os.close(lock)
        raise
    return lock, fresh


def _lock(lock: int, partial: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        raise PartialOutput(
            "another process is writing here", where=partial, remedy="wait for it, or choose another output folder"
        ) from fault


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
        remove_replaced(place)
        os.rename(place.out, place.replaced)
    os.rename(place.model, place.out)
    remove_replaced(place)


def close_partial(place: OutputPlace) -> None:
    """Remove what a run leaves beside its published output, the plan last; a file of somebody else stays."""
    for path in place.tasks.iterdir():
        if RECORD.fullmatch(path.name):
            path.unlink()
    with contextlib.suppress(OSError):
        place.tasks.rmdir()
    place.overwrites.unlink(missing_ok=True)
    place.plan.unlink()
    with contextlib.suppress(OSError):
        place.partial.rmdir()


def remove_replaced(place: OutputPlace) -> None:
    """Remove an old output, the manifest last: it is what allows the removal, should this run die before the end."""
    if place.replaced.is_dir() and not _foreign(place.replaced):
        remove_tree(place.replaced)


def remove_tree(folder: Path, *, last: str = MANIFEST_NAME) -> None:
    """Remove a folder, weights first, ``last`` and its draft last: a model of which anything is gone does not load."""
    for path in sorted(
        folder.iterdir(), key=lambda path: (path.name.startswith(last), path.suffix != ".safetensors", path.name)
    ):
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()
    folder.rmdir()
