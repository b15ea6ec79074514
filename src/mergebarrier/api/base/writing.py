"""How the front door has a folder written: the options that every writer shares, and how far the work is.

    protecting  43 %|█████████               | 12/28

Progress goes to the caller's callback, else to a bar in a notebook, else nowhere: a program that imports us is shown
nothing that it did not ask for.  The bar is one line of text that is written over; it needs no widgets.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from mergebarrier.progress import Progress
from mergebarrier.verbs import OutputOptions


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How a folder is written; nothing here changes a byte of it.

    Args:
      resume:        continue the unfinished run in ``<folder>.partial``.
      overwrite:     replace an output that exists.
      workers:       circuits worked on at once.
      max_ram_bytes: the memory budget, None for the default.
    """

    resume: bool = False
    overwrite: bool = False
    workers: int = 1
    max_ram_bytes: int | None = None

    def into(self, out: str | os.PathLike[str], progress: Progress | None) -> OutputOptions:
        """Return what the verbs take."""
        return OutputOptions(
            Path(out),
            resume=self.resume,
            overwrite=self.overwrite,
            workers=self.workers,
            max_ram_bytes=self.max_ram_bytes,
            progress=progress,
        )


_CELLS: Final = 24


@contextmanager
def shown(progress: Progress | None, label: str) -> Iterator[Progress]:
    """Give the progress to hand to a verb.

    Args:
      progress: the caller's, which is used as it is.
      label:    what is being done, a word or two.
    """
    if progress is not None or not in_notebook():
        yield progress or _unseen
        return
    draw, finish = _bar(label, sys.stderr)
    try:
        yield draw
    finally:
        finish()


def in_notebook() -> bool:
    """Say whether the program is a cell of a notebook; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def _bar(label: str, stream: TextIO) -> tuple[Progress, Callable[[], None]]:
    last: list[str] = []

    def draw(done: int, total: int) -> None:
        share = done / total if total else 1.0
        cells = "█" * int(share * _CELLS)
        line = f"\r{label} {share:4.0%}|{cells:<{_CELLS}}| {done}/{total}"
        if last[-1:] != [line]:
            last[:] = [line]
            stream.write(line)
            stream.flush()

    def finish() -> None:
        if last:
            stream.write("\n")

    return draw, finish


def _unseen(done: int, total: int) -> None:
    """No-op: no progress is shown."""
