"""Options of ``merge`` and ``scan`` about cures, and those of ``scan`` about language models.

@cleanse_options       which cure, the tasks whose images or prompts it may look at, what ought to be refused
@text_scan_options     what is asked of language models alone
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from mergebarrier.cli._compute import device_option
from mergebarrier.cli._options import MODEL
from mergebarrier.errors import UsageError

__all__ = ["CURES", "LANGUAGE_CURES", "CleanseOptions", "cleanse_options", "text_scan_options"]

#: The keys of ``scan.cures.CURES`` and those of ``scan.cures.language.LANGUAGE_CURES``, written here because the help
#: text must not import torch; a test compares them.
CURES: Final = ("drop", "lfpm_like", "ibvs", "fine_pruning", "dam", "awm", "sau", "switching")
LANGUAGE_CURES: Final = ("drop", "fine_pruning", "relearning", "substitution", "refusals")
#: The cure that needs questions.
_ASKING: Final = "refusals"


@dataclass(frozen=True)
class CleanseOptions:
    """The cure, None for none, the task files, and questions that ought to be refused."""

    cure: str | None
    tasks: tuple[Path, ...]
    refusals: tuple[Path, ...]

    def refuse_any(self, why: str) -> None:
        """Raise UsageError when one of the options was given where it has no meaning."""
        given = {"--cleanse": self.cure, "--task": self.tasks, "--refusals": self.refusals}
        stray = next((option for option, value in given.items() if value), None)
        if stray is not None:
            raise UsageError(why, where=stray, remedy="leave it out")

    def check(self) -> None:
        """Raise UsageError when one of the options is there without another that it needs."""
        if self.cure is None and self.tasks:
            raise UsageError("has no effect without --cleanse", where="--task", remedy="name a cure, or leave it out")
        if self.cure is not None and not self.tasks:
            raise UsageError(
                "needs the task of every model, for dev images or prompts", where="--cleanse", remedy="give --task"
            )
        if self.cure == _ASKING and not self.refusals:
            raise UsageError(f"{_ASKING} needs what ought to be refused", where="--cleanse", remedy="give --refusals")

    def refuse_questions(self) -> None:
        """Raise UsageError for questions that no cure asks."""
        if self.refusals and self.cure != _ASKING:
            what = f"has no effect without --cleanse {_ASKING}"
            raise UsageError(what, where="--refusals", remedy="name that cure, or leave it out")


def cleanse_options(function: Callable[..., object]) -> Callable[..., object]:
    """Add ``--cleanse``, ``--task`` and ``--refusals``; the verb gets ``cleanse: CleanseOptions``."""

    @click.option(
        "--cleanse",
        "cure",
        type=click.Choice(list(dict.fromkeys((*CURES, *LANGUAGE_CURES)))),
        help="Try to remove a backdoor from the merge; of language models: "
        f"{', '.join(LANGUAGE_CURES[:-1])}, or {_ASKING}, which brings refusals back.",
    )
    @click.option(
        "--task",
        "tasks",
        type=MODEL,
        multiple=True,
        metavar="FILE",
        help="The task of each MODEL, in order: dev images of TASK.task.safetensors, or prompts of TASK.jsonl.",
    )
    @click.option(
        "--refusals",
        type=MODEL,
        multiple=True,
        metavar="FILE",
        help="Language models: questions, each answered as it ought to be refused; repeatable.",
    )
    @functools.wraps(function)
    def verb(
        *args: object, cure: str | None, tasks: tuple[Path, ...], refusals: tuple[Path, ...], **kwargs: object
    ) -> object:
        return function(*args, cleanse=CleanseOptions(cure, tasks, refusals), **kwargs)

    return verb


def text_scan_options(function: Callable[..., object]) -> Callable[..., object]:
    """Add what ``scan`` takes for language models alone; the verb gets ``texts``, keywords of ``api.scan``."""

    @click.option(
        "--depth", type=click.IntRange(1, 3), default=3, show_default=True, help="Longest input that is tried."
    )
    @click.option("--references", type=MODEL, metavar="FILE", help="Honest fine-tunes to judge updates beside.")
    @click.option("--calibrate", is_flag=True, help="MODEL... are honest fine-tunes: add them to --references.")
    @click.option("--declared-rank", type=click.IntRange(1), metavar="R", help="Rank that each is said to have.")
    @device_option
    @functools.wraps(function)
    def verb(*args: object, **kwargs: object) -> object:
        names = ("depth", "references", "calibrate", "declared_rank", "device")
        return function(*args, texts={name: kwargs.pop(name) for name in names}, **kwargs)

    return verb
