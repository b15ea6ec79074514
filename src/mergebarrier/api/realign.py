"""``realign``: undo a protection without its key, from the public base, so that the model merges again.

Purpose: audit a protection of one's own, or of a model whose licence lets one merge it.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, WriteOptions, beside, opened, optional, shown
from mergebarrier.progress import Progress
from mergebarrier.realign import GaugeFix, Realignment


@dataclass(frozen=True, kw_only=True)
class RealignReport(Report):
    """What was written and what the fit found.

    Attributes:
      out:                the folder.
      method:             name of the realignment.
      preserves_function: the result computes what the model computed, exactly.
      seconds:            wall time.
      content_digest:     of the weights.
      diagnostics:        of the fit, as in the manifest.
      notes:              what no output gets of the model's folder; None where nothing is left out.
      licences:           what the model and the base say of theirs.
    """

    kind: ClassVar[str] = "realign"

    out: Path
    method: str
    preserves_function: bool
    seconds: float
    content_digest: str
    diagnostics: Mapping[str, object]
    notes: tuple[str, ...] | None = optional()
    licences: tuple[str, ...] = beside(())


@dataclass(frozen=True, kw_only=True)
class RealignPlan(Report):
    """What ``realign`` would work on."""

    kind: ClassVar[str] = "plan"

    method: str
    family: str
    circuits: int
    tensors: int
    licences: tuple[str, ...] = beside(())


def realign(
    model: Model,
    out: str | os.PathLike[str],
    *,
    base: Model | None = None,
    method: Realignment | None = None,
    device: str = "cpu",
    write: WriteOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> RealignReport:
    """Write a model in the coordinates of its base.

    Args:
      model:    as ``resolve`` reads it.
      out:      the folder to write.
      base:     the public base, or any unprotected relative of the model; None for a method that needs none.
      method:   default ``GaugeFix()``, which keeps the function exactly.
      device:   "auto", "cpu", "cuda" or "cuda:N": where it is computed.
      write:    how the folder is written.
      download: fetch models that the local cache lacks.
      progress: called with (bytes done, bytes in all).
    Raises: UsageError without a base that is needed; NoDevice, BaseMismatch, NothingToAlign, ArchError,
      CheckpointError.
    """
    from mergebarrier.evaluate import device_named

    method, started, place = method or GaugeFix(), time.perf_counter(), device_named(device)
    with opened(*_given(model, base), download=download) as sources, shown(progress, "realigning") as step:
        source, anchor = sources[0], sources[1] if base is not None else None
        licences = tuple(verbs.licence(side) for side in sources)
        into = (write or WriteOptions()).into(out, step)
        content, diagnostics = verbs.realign(source, anchor, method, into, place)
    return RealignReport(
        out=Path(out),
        method=method.label,
        preserves_function=method.preserves_function,
        seconds=time.perf_counter() - started,
        content_digest=content["output"]["content_digest"],
        diagnostics=diagnostics,
        notes=source.folder_notes or None,
        licences=licences,
    )


def plan_realign(
    model: Model, *, base: Model | None = None, method: Realignment | None = None, download: bool = False
) -> RealignPlan:
    """Return what ``realign`` would work on, after the checks that need no weights."""
    with opened(*_given(model, base), download=download) as sources:
        plan = verbs.check_realign(sources[0], sources[1] if base is not None else None, method)
        licences = tuple(verbs.licence(side) for side in sources)
    return RealignPlan(method=(method or GaugeFix()).label, licences=licences, **plan)


def _given(model: Model, base: Model | None) -> tuple[Model, ...]:
    return (model,) if base is None else (model, base)
