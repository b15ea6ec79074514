"""``--cleanse`` of ``merge`` and ``scan``: which cure, and the tasks whose images it may look at."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.errors import UsageError

__all__ = ["CURES", "CleanseOptions", "cleanse_options"]

#: The keys of ``scan.cures.CURES``, written here because the help text must not import torch; a test compares them.
CURES: Final = ("drop", "lfpm_like", "ibvs", "fine_pruning", "dam", "awm", "sau", "switching")


@dataclass(frozen=True)
class CleanseOptions:
    """The cure, None for none, and the task files."""

    cure: str | None
    tasks: tuple[Path, ...]

    def refuse_any(self, why: str) -> None:
        """Raise UsageError when one of the options was given where it has no meaning."""
        if self.cure is not None or self.tasks:
            raise UsageError(why, where="--cleanse" if self.cure else "--task", remedy="leave it out")

    def check(self) -> None:
        """Raise UsageError when one of the two options is there without the other."""
        if self.cure is None and self.tasks:
            raise UsageError("has no effect without --cleanse", where="--task", remedy="name a cure, or leave it out")
        if self.cure is not None and not self.tasks:
            raise UsageError(
                "needs the task of every model, for its dev images", where="--cleanse", remedy="give --task"
            )


def cleanse_options(function: Callable[..., object]) -> Callable[..., object]:
    """Add ``--cleanse`` and ``--task``; the verb gets ``cleanse: CleanseOptions``."""

    @click.option(
        "--cleanse", "cure", type=click.Choice(CURES), help="Image models: try to remove a backdoor from the merge."
    )
    @click.option(
        "--task",
        "tasks",
        type=MODEL,
        multiple=True,
        metavar="TASK.task.safetensors",
        help="Image models: the task of each MODEL, in order; only its dev images are used.",
    )
    @functools.wraps(function)
    def verb(*args: object, cure: str | None, tasks: tuple[Path, ...], **kwargs: object) -> object:
        return function(*args, cleanse=CleanseOptions(cure, tasks), **kwargs)

    return verb
