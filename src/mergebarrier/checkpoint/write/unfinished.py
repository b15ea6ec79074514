"""The folder of an unfinished run, when another takes it over or away: what is on our own lists, and nothing else.

    ours = plan.json | tasks/HASH.done | overwrite | model/ (shards of the plan | what the manifest or its draft lists)

The manifest is drafted before any file that it lists, and a list goes last of all that it covers, so that whenever a
run dies, each file of its folder is on a list.  Whatever is on none, and a link, is somebody else's: the folder is then
neither used nor removed.

Source: ours.  Differs from clearing a folder by its name: a name is no proof of who wrote the files.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint.files import MANIFEST_NAME, listed_files
from mergebarrier.checkpoint.write.layout import draft_name, part_name, planned_shards
from mergebarrier.checkpoint.write.place import (
    RECORD,
    OutputPlace,
    claim_partial,
    remove_replaced,
    remove_tree,
    unlisted,
)
from mergebarrier.errors import CheckpointError, PartialOutput, UnsafePath

_OWN_NAMES: Final = frozenset({"plan.json", "plan.json.new", "tasks", "model", "overwrite"})


def take_over(place: OutputPlace, *, resume: bool) -> None:
    """Check that all in a claimed folder is ours, and empty it unless the run in it goes on.

    Raises: UnsafePath for a link in the place of ours, PartialOutput for a file that is on none of our lists.
    """
    _check_own(place)
    if not resume:
        _empty(place)


def drop_leftover(place: OutputPlace, plan: bytes) -> None:
    """Remove what a run with this plan left behind when it died after its output was complete."""
    if not place.partial.is_dir():
        return
    lock, _ = claim_partial(place, may_be_there=True)
    try:
        _check_own(place)
        if not any(place.partial.iterdir()) or (place.plan.is_file() and place.plan.read_bytes() == plan):
            remove_replaced(place)
            remove_partial(place)
    finally:
        os.close(lock)


def remove_partial(place: OutputPlace) -> None:
    """Remove the partial folder, the plan last; one into which somebody has put a file stays as it is."""
    if next(_foreign(place), None) is None:
        remove_tree(place.partial, last=place.plan.name)


def _empty(place: OutputPlace) -> None:
    """Remove the contents of an old partial folder, all of them ours."""
    # As a draft the plan still says whose the rest is, and whatever a crash leaves here is started again.
    with contextlib.suppress(FileNotFoundError):
        os.rename(place.plan, place.plan_draft)
    for path in sorted(place.partial.iterdir(), key=lambda path: path == place.plan_draft):
        remove_tree(path) if path.is_dir() else path.unlink()


def _check_own(place: OutputPlace) -> None:
    for path in place.partial.iterdir():
        if path.name in _OWN_NAMES and path.is_symlink():
            what = "this is a link, and links are not followed for writing"
            raise UnsafePath(what, where=path, remedy="remove the partial folder")
    foreign = min(_foreign(place), default=None)
    if foreign is not None:
        raise PartialOutput(
            "this file was not written by mergebarrier, so the folder will not be used or removed",
            where=place.partial / foreign,
            remedy="move it elsewhere",
        )


def _foreign(place: OutputPlace) -> Iterator[str]:
    """Yield what lies in a partial folder and is on none of our lists."""
    yield from (name for name in os.listdir(place.partial) if name not in _OWN_NAMES)
    for folder in (place.tasks, place.model):
        if folder.is_dir() and any(folder.iterdir()):
            ours = _records(folder) if folder == place.tasks else _written(place)
            yield from (f"{folder.name}/{name}" for name in unlisted(folder, ours))


def _records(tasks: Path) -> set[str]:
    return {name for name in os.listdir(tasks) if RECORD.fullmatch(name)}


def _written(place: OutputPlace) -> set[str]:
    """Return the files below ``model`` that the plan and the manifest list, under all names that they have in turn."""
    names = {MANIFEST_NAME, draft_name(MANIFEST_NAME)}
    for manifest in tuple(names):
        with contextlib.suppress(CheckpointError):
            listed = listed_files(place.model, name=manifest)
            names |= {*listed, *map(draft_name, listed)}
    for plan in (place.plan, place.plan_draft):
        shards = planned_shards(plan)
        names |= {*shards, *map(part_name, shards)}
    return names
