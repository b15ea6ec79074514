"""``import_gguf``: a GGUF file as a model folder, which says that it is one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mergebarrier import verbs
from mergebarrier.api.base import Report, WriteOptions, optional, shown
from mergebarrier.checkpoint import read_gguf_header
from mergebarrier.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ImportReport(Report):
    """What was written, or would be.

    Attributes:
      out:            the folder; None for a plan.
      architecture:   of the file, in ggml's words.
      types:          ggml type -> weights that are stored in it.
      dtype:          of the weights in the folder.
      content_digest: of the folder; None for a plan.
      notes:          what the owner should hear; None where there is nothing.
    """

    kind: ClassVar[str] = "import"

    out: Path | None = optional()
    architecture: str
    types: Mapping[str, int]
    dtype: str
    content_digest: str | None = optional()
    notes: tuple[str, ...] | None = optional()


def import_gguf(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: str = "auto",
    write: WriteOptions | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Write the model of a GGUF file as a Hugging Face folder.

    Args:
      file:     the file.
      out:      the folder to write.
      dtype:    "float32", "bfloat16", "float16", or "auto" for the file's own; bfloat16 where it is quantised.
      write:    how the folder is written.
      progress: called with (tensors done, tensors).
    Raises: NotACheckpoint, BadHeader, UnsupportedFeature, MissingExtra, CheckpointError; nothing is left behind then.
    """
    folder, write = Path(out), write or WriteOptions()
    with shown(progress, "importing") as step:
        made = verbs.import_gguf(Path(file), write.into(folder, step), dtype=dtype)
    return ImportReport(
        out=folder,
        architecture=made.header.architecture,
        types=made.header.weights,
        dtype=made.dtype,
        content_digest=made.content_digest,
        notes=_notes(made.header.quantised),
    )


def plan_import_gguf(file: str | os.PathLike[str], *, dtype: str = "auto") -> ImportReport:
    """Return what ``import_gguf`` would write, after a look at the header."""
    header = read_gguf_header(Path(file))
    return ImportReport(
        architecture=header.architecture,
        types=header.weights,
        dtype=verbs.stored_dtype(header, dtype),
        notes=_notes(header.quantised),
    )


def _notes(quantised: tuple[str, ...]) -> tuple[str, ...] | None:
    if not quantised:
        return None
    return (f"quantised ({', '.join(quantised)}): the weights lie on that grid, and are not the original model's",)
