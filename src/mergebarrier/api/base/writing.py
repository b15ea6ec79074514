"""How the front door writes a folder: the options that every writer shares, apart from the folder itself."""

import os
from dataclasses import dataclass
from pathlib import Path

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
