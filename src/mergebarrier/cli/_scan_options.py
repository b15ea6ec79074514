"""Options of ``scan`` for language models alone."""

import functools
from collections.abc import Callable

import click

from mergebarrier.cli._compute import device_option
from mergebarrier.cli._options import MODEL

__all__ = ["text_scan_options"]


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
