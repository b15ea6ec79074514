"""``merge --cleanse`` and ``scan --cleanse``: cure a merge in memory, then write it as any merge.

The job is that of the merge, but for the parameters of what was cured; every other tensor (a text tower beside an
encoder of images) is merged as it would have been.  Task files say of which kind the models are.  The manifest names
the cure, its parameters and the files by digest.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import BadScanInput
from mergebarrier.evaluate import read_image_task
from mergebarrier.merge import MergeUnit, Plan
from mergebarrier.run import Change, Tables
from mergebarrier.scan import Search
from mergebarrier.scan.cures import CURES, Cure, MergeToCure
from mergebarrier.scan.cures.language import LANGUAGE_CURES, LanguageCure
from mergebarrier.training import FullRecipe, train_full
from mergebarrier.verbs.job import MergeJob
from mergebarrier.verbs.language import cured_texts
from mergebarrier.verbs.pools import PREFIX, distinct, loaded, merge_weights, pool_of
from mergebarrier.verbs.scan_request import is_images

#: For the cures that train: they start at the merge (or at the base) and shall not forget the tasks.
RECIPE: Final = FullRecipe(steps=100, learning_rate=2e-4, weight_decay=0.0, warmup_steps=10)


@dataclass(frozen=True, kw_only=True)
class CureRequest:
    """How a merge is cured.

    Args:
      cure:     a key of ``scan.cures.CURES``, or of ``scan.cures.language.LANGUAGE_CURES`` for language models.
      tasks:    task files of one kind, one per expert in their order; of images the dev rows are used, of text the
                prompts; right answers are not.
      refusals: files of questions, each answered as it ought to be refused, for the cure that brings refusals back.
      search:   of patches; its seed is that of every draw.
    """

    cure: str
    tasks: Sequence[Path]
    refusals: Sequence[Path] = ()
    search: Search = dataclasses.field(default_factory=Search)


def cleansed(job: MergeJob, planned: Plan, request: CureRequest) -> MergeJob:
    """Return the job that cures a merge, once it is judged, and writes it.

    Args:
      job:     how the merge would be written without a cure.
      planned: the merge; its method must use a base.
      request: what is done to it.
    Raises:  BadScanInput (unknown cure, counts, a merge without base); the cure itself, in ``MergeJob.apply``, also
             where heads and images do not fit, BadTask, Diverged.
    """
    if not planned.method.uses_base:
        raise BadScanInput(
            f"{planned.method.name} uses no base, and a cure judges models beside theirs",
            where="--cleanse",
            remedy="merge by task_arithmetic with coefficient 1/N for a plain average",
        )
    base, experts = planned.sources[0], planned.sources[1:]
    if len(request.tasks) != len(experts):
        raise BadScanInput(
            f"{len(request.tasks)} task files for {len(experts)} models",
            where="--task",
            remedy="give one per model, in the same order",
        )
    chosen, seed = _chosen(request), request.search.seed
    names = distinct([expert.name for expert in experts])
    models, tasks = dict(zip(names, experts, strict=True)), dict(zip(names, request.tasks, strict=True))

    def apply() -> Change[MergeUnit]:
        if isinstance(chosen, LanguageCure):
            cured = cured_texts(chosen, base, models, tasks, request.refusals, merge=planned.method, seed=seed)
        else:
            cured = _cured_images(chosen, base, models, tasks, planned, request.search)

        def merge(unit: MergeUnit, blocks: Tables) -> dict[str, Tensor]:
            merged = planned.apply(unit, blocks)
            return {name: cured[name].to(merged[name].dtype) if name in cured else merged[name] for name in merged}

        return merge

    # Cured tensors are written whole, so no unit may be cut into rows.
    units = [dataclasses.replace(unit, rowwise=False, streamed=False) for unit in planned.units]
    told = {"method": request.cure, "parameters": dataclasses.asdict(chosen), "seed": seed}
    told |= {name: digests for name in ("tasks", "refusals") if (digests := _digests(getattr(request, name)))}
    return dataclasses.replace(job, units=units, apply=apply, request={**job.request, "cleanse": told}, whole=True)


def _chosen(request: CureRequest) -> Cure | LanguageCure:
    """Return the cure by its name, for models of the kind that the tasks are of."""
    kinds = {is_images(task) for task in request.tasks}
    if len(kinds) > 1:
        raise BadScanInput("tasks of images and of text", where="--task", remedy="cure models of one kind at a time")
    images = True in kinds
    known: Mapping[str, Cure | LanguageCure] = CURES if images else LANGUAGE_CURES
    if request.cure not in known:
        what = f"no cure {request.cure!r} for models of {'images' if images else 'language'}"
        raise BadScanInput(what, where="--cleanse", remedy="choose from " + ", ".join(known))
    return known[request.cure]


def _digests(files: Sequence[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def _cured_images(
    cure: Cure,
    base: Checkpoint,
    experts: Mapping[str, Checkpoint],
    tasks: Mapping[str, Path],
    planned: Plan,
    search: Search,
) -> dict[str, Tensor]:
    """Return the cured parameters of an encoder by their names in its folder."""

    def train(module: nn.Module, loss: Callable[[int], Tensor]) -> None:
        train_full(module, RECIPE, loss)

    read = {name: read_image_task(path) for name, path in tasks.items()}
    pool = pool_of(base, {name: loaded(expert, base) for name, expert in experts.items()}, read)
    assert pool is not None, "an expert that does not fit has raised"
    patient = MergeToCure(pool, merge_weights(planned.method), search, train, search.seed)
    return {name.removeprefix(PREFIX): tensor for name, tensor in cure.apply(patient).items()}
