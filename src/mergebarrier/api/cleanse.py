"""``cleanse``: merge encoders of images, or language models, and cure the merge, as ``scan --cleanse`` does.

A cure may look at the development images or the prompts of every model's task, never at right answers.  Scan the result
as a model of its own: a cure proves nothing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, WriteOptions, resolve, resolve_all, shown
from mergebarrier.merge import Merge, plan
from mergebarrier.progress import Progress
from mergebarrier.scan import Search


@dataclass(frozen=True, kw_only=True)
class CleanseRequest:
    """Which merge is cured, and how.

    Args:
      models:              as ``resolve`` reads them; an adapter is put on the base.
      base:                what they were fine-tuned from.
      tasks:               task files of images, or of text, one per model in their order.
      merge:               a merge that uses the base.
      cure:                a key of ``scan.cures.CURES``, of ``scan.cures.language.LANGUAGE_CURES`` for text.
      search:              of patches; its seed is that of every draw.
      refusals:            questions, each answered as it ought to be refused, for that cure.
      acknowledge_licence: merge although a licence or an owner of an input forbids it; recorded in the manifest.
      download:            fetch models that the local cache lacks.
    """

    models: Sequence[Model]
    base: Model
    tasks: Sequence[str | os.PathLike[str]]
    merge: Merge
    cure: str
    search: Search = field(default_factory=Search)
    refusals: Sequence[str | os.PathLike[str]] = ()
    acknowledge_licence: bool = False
    download: bool = False


@dataclass(frozen=True, kw_only=True)
class CleanseReport(Report):
    """Where the cured merge is.

    Attributes:
      out:            the folder.
      method:         of the merge.
      cure:           that was applied.
      content_digest: of the weights.
      warnings:       what a merger should hear about the inputs and the result.
    """

    kind: ClassVar[str] = "cleanse"

    out: Path
    method: str
    cure: str
    content_digest: str
    warnings: tuple[str, ...]


def check_cleanse(request: CleanseRequest) -> None:
    """Refuse what ``cleanse`` would refuse before it looks at weights.

    Raises: LicenceRefused where a licence or an owner forbids the merge; CheckpointError, MergeError, BadScanInput.
    """
    with _job(request) as job:
        verbs.judged_inputs(job, _checks(request))


def cleanse(
    request: CleanseRequest,
    out: str | os.PathLike[str],
    *,
    write: WriteOptions | None = None,
    progress: Progress | None = None,
) -> CleanseReport:
    """Merge, cure and write.

    Args:
      request:  what is merged and how it is cured.
      out:      the folder to write.
      write:    how it is written.
      progress: called with (bytes done, bytes).
    Raises: as ``check_cleanse``; BadTask, Diverged, and what writing a folder raises.
    """
    with _job(request) as job, shown(progress, "merging") as step:
        into = (write or WriteOptions()).into_claimable(out, step, [one.checkpoint for one in job.inputs])
        content = verbs.merge(job, into, _checks(request))
    return CleanseReport(
        out=Path(out),
        method=request.merge.name,
        cure=request.cure,
        content_digest=content["output"]["content_digest"],
        warnings=tuple(content["checks"]["warnings"]),
    )


@contextmanager
def _job(request: CleanseRequest) -> Iterator[verbs.MergeJob]:
    """Plan the cured merge, and close what it opened."""
    base = resolve(request.base, download=request.download)
    with ExitStack() as stack:
        folders = verbs.Models(stack)
        experts = [folders.model_on(path, base) for path in resolve_all(request.models, download=request.download)]
        planned = plan(request.merge, folders.model(base), experts)
        asked = verbs.CureRequest(
            cure=request.cure,
            tasks=[Path(path) for path in request.tasks],
            refusals=[Path(path) for path in request.refusals],
            search=request.search,
        )
        yield verbs.cleansed(verbs.whole_models(planned), planned, asked)


def _checks(request: CleanseRequest) -> verbs.Checks:
    return verbs.Checks(acknowledge_licence=request.acknowledge_licence)
