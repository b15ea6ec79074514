"""``merge``: several models into one, by a recipe or by a method; a dry run and an explanation of the same request.

    mb.merge(["a", "b"], "out", base="base", method=mb.Ties(density=.2))
    mb.merge(recipe="recipe.yaml", out="out")

request -> plan -> job -> report: ``merge_jobs`` makes the job, ``verbs.merge`` runs it, the report is what it wrote.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, Row, WriteOptions, beside, shown
from mergebarrier.api.merge_jobs import MergeOptions, MergeRequest, checks_of, job_of, plan_of
from mergebarrier.errors import UsageError
from mergebarrier.merge import DataMerge, Merge
from mergebarrier.progress import Progress

Tell: TypeAlias = Callable[[str], None]
#: Parts of the manifest that the document of a merge repeats, where they are.
_REPEATED: Final = (
    "method", "parameters", "recipe", "effective", "data", "coefficients", "diagnostics", "inputs", "licence", "checks",
    "cleanse",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MergeReport(Report):
    """What a merge wrote.

    Attributes:
      out:            the folder.
      notes:          what the plan found worth saying.
      content_digest: of the output's tensors.
      content:        what the manifest says: method, inputs, licence, checks and more.
    """

    kind: ClassVar[str] = "merge"

    out: Path
    notes: tuple[str, ...]
    content_digest: str
    content: Mapping[str, Any] = beside()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found in inputs and output."""
        return tuple(self.content["checks"]["warnings"])

    @property
    def equal_inputs(self) -> tuple[str, ...]:
        """One line per input that holds the same weights as another."""
        return tuple(verbs.equal_inputs(self.content["inputs"]))

    @property
    def suspect(self) -> bool:
        """Whether the merge was run and is far worse than its inputs; it is kept, and marked."""
        return bool(self.content["checks"].get("suspect", False))

    def document(self) -> dict[str, object]:
        """Return the fields, then what the manifest says of inputs, licence and checks."""
        return super().document() | {name: self.content[name] for name in _REPEATED if name in self.content}

    def rows(self) -> Sequence[Row]:
        """Return a row per input."""
        return [{key: item[key] for key in ("role", "name", "content_digest")} for item in self.content["inputs"]]


@dataclass(frozen=True, kw_only=True)
class MergePlanReport(Report):
    """What a merge would do.

    Attributes:
      facts:   method, sources, counts, bytes and files.
      licence: the verdict, the licence that the output would have, and why.
      notes:   what the plan found worth saying.
    """

    kind: ClassVar[str] = "plan"

    facts: Mapping[str, Any]
    licence: Mapping[str, str | None]
    notes: tuple[str, ...] = beside()

    def document(self) -> dict[str, object]:
        """Return the facts, one by one, and the licence."""
        return {**self.facts, "licence": self.licence}


@dataclass(frozen=True, kw_only=True)
class MergeExplanation(Report):
    """What a recipe means for every tensor.

    Attributes:
      recipe:  as data, models by name.
      tensors: one table per tensor: method, sources, parameters, dtypes.
      notes:   what the plan found worth saying.
    """

    kind: ClassVar[str] = "explanation"

    recipe: Mapping[str, Any]
    tensors: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...] = beside()

    def rows(self) -> Sequence[Row]:
        """Return a row per tensor, without its sources."""
        return [{key: value for key, value in tensor.items() if key != "sources"} for tensor in self.tensors]


def merge(
    models: Sequence[Model] = (),
    out: str | os.PathLike[str] | None = None,
    *,
    base: Model | None = None,
    method: str | Merge | DataMerge | None = None,
    recipe: str | os.PathLike[str] | None = None,
    data: Sequence[str | os.PathLike[str]] = (),
    options: MergeOptions | None = None,
    write: WriteOptions | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Merge models into a new folder.

    Args:
      models:   folders, names of the Hub, opened checkpoints; or adapters, which are put on the base.
      out:      the folder to write.
      base:     the model that they were fine-tuned from.
      method:   by name with its defaults, or with parameters, such as ``Ties(density=0.2)``.
      recipe:   a YAML file of mergekit's language, in place of models, base and method.
      data:     for a method that learns: a file per model.
      options:  what few merges are asked.
      write:    how the folder is written.
      progress: called with (steps done, steps).
    Raises: UsageError, BadRecipe, CheckpointError, MergeError (LicenceRefused unless acknowledged), OutputExists.
    """
    if out is None:
        raise UsageError("the output folder is missing", where="out", remedy="give one, or use plan_merge")
    request = MergeRequest(
        models=tuple(models),
        base=base,
        method=method,
        recipe=None if recipe is None else Path(recipe),
        data=tuple(Path(path) for path in data),
        options=options or MergeOptions(),
    )
    return run_merge(request, out, write=write, progress=progress)


def run_merge(
    request: MergeRequest,
    out: str | os.PathLike[str],
    *,
    write: WriteOptions | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> MergeReport:
    """Do what a request asks; raises as ``merge``.

    Args:
      request:  what to do.
      out:      the folder to write.
      write:    how it is written.
      progress: called with (steps done, steps).
      tell:     called with each note before the work begins.
    """
    write = write or WriteOptions()
    with ExitStack() as stack, shown(progress, "merging") as step:
        job = job_of(request, stack, tell or _unheard, max_ram_bytes=write.max_ram_bytes)
        content = verbs.merge(
            job, write.into_claimable(out, step, [one.checkpoint for one in job.inputs]), checks_of(request.options)
        )
    digest = content["output"]["content_digest"]
    return MergeReport(out=Path(out), notes=job.notes, content_digest=digest, content=content)


def plan_merge(
    request: MergeRequest, *, write: WriteOptions | None = None, tell: Tell | None = None
) -> MergePlanReport:
    """Say what ``run_merge`` would do; everything is checked, nothing is written.  Raises as ``merge``."""
    with ExitStack() as stack:
        job = job_of(request, stack, tell or _unheard, max_ram_bytes=None if write is None else write.max_ram_bytes)
        found = verbs.judged_inputs(job, checks_of(request.options)).conclusion
    licence = {"verdict": found.verdict, "licence": found.licence, "reason": found.reason}
    return MergePlanReport(facts=job.facts, licence=licence, notes=job.notes)


def explain_merge(request: MergeRequest) -> MergeExplanation:
    """Say what the recipe of a request means for every tensor; nothing is merged.

    Raises: UsageError without a recipe; BadRecipe, CheckpointError, MergeError.
    """
    if request.recipe is None:
        raise UsageError("works only with a recipe", where="--explain", remedy="give a recipe, CONFIG.yaml")
    with ExitStack() as stack:
        folders = verbs.Models(stack, untie=request.options.allowed.untie)
        planned = plan_of(request.recipe, request.options, folders)
        return MergeExplanation(recipe=planned.document(), tensors=planned.explain(), notes=tuple(planned.notes))


def _unheard(note: str) -> None:
    """Drop a note; reports hold it."""
