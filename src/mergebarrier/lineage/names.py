"""Names of models without local paths: a Hub id from a cache folder, else the name of the folder."""

import re
from collections.abc import Sequence
from pathlib import PurePath

from mergebarrier.checkpoint import AdaptedCheckpoint, Checkpoint

_HUB_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")


def reference(path: PurePath) -> str:
    """Name a model without its path: ``owner/name`` for a Hub cache folder, else the folder's name.

    Example:
      >>> reference(PurePath("hub/models--org--tiny/snapshots/0123")), reference(PurePath("out/expert_a"))
      ('org/tiny', 'expert_a')
    """
    for part in reversed(path.parts):
        found = _HUB_FOLDER.fullmatch(part)
        if found:
            return f"{found[1]}/{found[2]}"
    return path.name


def published(name: str) -> str:
    """Return a name of a base without what belongs to one machine: ``owner/name`` stays, of a path the last part.

    Example:
      >>> published("org/tiny"), published("./runs/tiny/"), published("")
      ('org/tiny', 'tiny', '')
    """
    local = name.startswith(("/", ".", "~")) or name.rstrip("/").count("/") > 1 or "\\" in name
    return PurePath(name.replace("\\", "/")).name if local else name


def name_of(model: Checkpoint) -> str:
    """Name an opened model without its path; a base with an adapter by both names."""
    if isinstance(model, AdaptedCheckpoint):
        return f"{reference(model.base.path.absolute())}+{reference(model.adapter.path.absolute())}"
    return reference(model.path.absolute())


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Number the names that occur more than once, so that each means one model.

    Example: >>> unique(["a", "b", "a"])
             ('a#1', 'b', 'a#3')
    """
    return tuple(name if names.count(name) == 1 else f"{name}#{i}" for i, name in enumerate(names, 1))
