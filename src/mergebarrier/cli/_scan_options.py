"""Options of ``scan`` for language models alone, and what checks need that are asked for by name."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from mergebarrier.cli._compute import device_option
from mergebarrier.cli._options import MODEL
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.cli._parameters import CleanseOptions

__all__ = ["refuse_blind", "text_scan_options"]


def refuse_blind(
    checks: tuple[str, ...], *, based: bool, merged: bool, cleanse: "CleanseOptions", texts: Mapping[str, object]
) -> None:
    """Refuse checks that were asked for by name without what they look at: a gate that did not look has not passed.

    Args:
      checks:  as they were named.
      based:   whether there is a base.
      merged:  whether the merge is looked at too.
      cleanse: the tasks and questions that were given.
      texts:   options for language models alone.
    """
    from mergebarrier.scan import CHECKS

    updates = any(texts[name] for name in ("references", "declared_rank", "calibrate"))  # the last says what it needs
    for name in checks:
        check = CHECKS[name]
        wanted = {
            "--base": not based and check.needs != "folder" and name != "updates",
            "--references or --declared-rank": name == "updates" and not updates,
            "--refusals": check.of_questions and not cleanse.refusals,
            "--task": check.of_tasks and not cleanse.tasks,
            "--merge": check.of_merge and not merged,
        }
        missing = next((option for option, missed in wanted.items() if missed), None)
        if missing is not None:
            raise UsageError(f"{name} needs {missing}", where="--checks", remedy="give it, or leave the check out")


def text_scan_options(function: Callable[..., object]) -> Callable[..., object]:
    """Add what ``scan`` takes for language models alone; the verb gets ``texts``, keywords of ``api.scan``."""

    @click.option(
        "--depth",
        type=click.IntRange(1, 3),
        default=3,
        show_default=True,
        metavar="N",
        help="Longest input that is tried.",
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
