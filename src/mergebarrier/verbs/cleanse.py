"""``merge --cleanse`` and ``scan --cleanse``: cure a merge of image encoders in memory, then write it as any merge.

The job is that of the merge, but for the encoder's parameters, which come from the cure; every other tensor (a text
tower) is merged as it would have been.  The manifest names the cure, its parameters and the task files by digest.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from mergebarrier.errors import BadScanInput
from mergebarrier.evaluate import read_image_task
from mergebarrier.merge import MergeUnit, Plan
from mergebarrier.run import Change, Tables
from mergebarrier.scan import Search
from mergebarrier.scan.cures import CURES, MergeToCure
from mergebarrier.training import FullRecipe, train_full
from mergebarrier.verbs.job import MergeJob
from mergebarrier.verbs.pools import PREFIX, distinct, loaded, merge_weights, pool_of

#: For the cures that train: they start at the merge (or at the base) and shall not forget the tasks.
RECIPE: Final = FullRecipe(steps=100, learning_rate=2e-4, weight_decay=0.0, warmup_steps=10)


def cleansed(job: MergeJob, planned: Plan, cure: str, tasks: Sequence[Path], search: Search) -> MergeJob:
    """Return the job that cures a merge, once it is judged, and writes it.

    Args:
      job:     how the merge would be written without a cure.
      planned: the merge; its method must use a base.
      cure:    a key of ``scan.cures.CURES``.
      tasks:   task files, one per expert in their order; dev images are used, labels are not.
      search:  of patches; its seed is that of every draw.
    Raises:  BadScanInput (unknown cure, counts, a merge without base); the cure itself, in ``MergeJob.apply``, also
             where heads and images do not fit, BadTask, Diverged.
    """
    if cure not in CURES:
        raise BadScanInput(f"no cure {cure!r}", where="--cleanse", remedy="choose from " + ", ".join(CURES))
    if not planned.method.uses_base:
        raise BadScanInput(
            f"{planned.method.name} uses no base, and a patch is judged by what it does in the base",
            where="--cleanse",
            remedy="merge by task_arithmetic with coefficient 1/N for a plain average",
        )
    base, experts = planned.sources[0], planned.sources[1:]
    if len(tasks) != len(experts):
        raise BadScanInput(
            f"{len(tasks)} task files for {len(experts)} models",
            where="--task",
            remedy="give one per model, in the same order",
        )

    def train(module: nn.Module, loss: Callable[[int], Tensor]) -> None:
        train_full(module, RECIPE, loss)

    def apply() -> Change[MergeUnit]:
        names = distinct([expert.name for expert in experts])
        read = {name: read_image_task(path) for name, path in zip(names, tasks, strict=True)}
        pool = pool_of(base, {name: loaded(expert) for name, expert in zip(names, experts, strict=True)}, read)
        patient = MergeToCure(pool, merge_weights(planned.method), search, train, search.seed)
        cured = {name.removeprefix(PREFIX): tensor for name, tensor in CURES[cure].apply(patient).items()}

        def merge(unit: MergeUnit, blocks: Tables) -> dict[str, Tensor]:
            merged = planned.apply(unit, blocks)
            return {name: cured[name].to(merged[name].dtype) if name in cured else merged[name] for name in merged}

        return merge

    # Cured tensors are written whole, so no unit may be cut into rows.
    units = [dataclasses.replace(unit, rowwise=False, streamed=False) for unit in planned.units]
    told = {"method": cure, "parameters": dataclasses.asdict(CURES[cure]), "seed": search.seed}
    files = {"tasks": [hashlib.sha256(path.read_bytes()).hexdigest() for path in tasks]}
    described = {**job.request, "cleanse": {**told, **files}}
    return dataclasses.replace(job, units=units, apply=apply, request=described, whole=True)
