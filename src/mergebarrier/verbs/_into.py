"""Where a verb writes, and the words about inputs and surroundings that every manifest holds."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import clean

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Into:
    """Where and how a folder is written.

    Args:
      out:           the folder.
      resume:        go on with an unfinished run.
      overwrite:     replace what stands there.
      workers:       circuits at once; never changes a byte.
      max_ram_bytes: memory budget, None for the default.
      progress:      called with (bytes done, bytes in all).
    """

    out: Path
    resume: bool = False
    overwrite: bool = False
    workers: int = 1
    max_ram_bytes: int | None = None
    progress: Progress | None = None


def content_of(verb: str, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a manifest that says what was done."""
    return {"verb": verb, "method": method, "parameters": dict(parameters)}


def input_of(role: str, source: Checkpoint) -> dict[str, Any]:
    """Return the part of a manifest that says what one input was."""
    return {
        "role": role,
        "content_digest": source.content_digest(),
        "tensors": source.digests(),
        "files": source.file_digests(),
    }


def licence(source: Checkpoint) -> str:
    """Return the licence that the model card of a folder declares in its front matter, or "unknown"."""
    if "README.md" not in source.side_files:
        return "unknown"
    head = source.read_side_file("README.md").decode(errors="replace").split("---")
    lines = head[1].splitlines() if len(head) > 2 else []
    declared = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return clean(declared[0]) if declared and declared[0] else "unknown"


def environment() -> dict[str, Any]:
    """Return versions and platform, the part of a manifest that no digest covers."""
    import numpy
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
    }
