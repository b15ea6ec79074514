"""``protect`` by training: an expert, its base and the owner's data in, a published model or adapter out.

The folder is written, or continued, like any other; what is trained stands beside it until it is there.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, WriteOptions, resolve, shown
from mergebarrier.api.protect import ProtectReport
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.parameters import built
from mergebarrier.progress import Progress
from mergebarrier.protect import TrainedProtection

if TYPE_CHECKING:
    from mergebarrier.verbs.trained import TrainingRequest


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What a training needs beside models and method.

    Args:
      data:         rows of the task, or a task of pictures.
      validation:   rows held out; None to hold out some of ``data``.
      text:         plain prose that the model is held on; None for none.
      siblings:     public fine-tunes of the base, which ``layered`` simulates merges with.
      sibling_data: rows of their tasks, one file each in their order, which merges are to forget too; none for none.
      adapter:      publish an adapter; None for what the expert is.
      device:       "auto", "cpu" or "cuda[:N]".
      seed:         of every draw.
      do_not_merge: ask on card and manifest that nobody merges the output.
    """

    data: str | os.PathLike[str]
    validation: str | os.PathLike[str] | None = None
    text: str | os.PathLike[str] | None = None
    siblings: Sequence[Model] = ()
    sibling_data: Sequence[str | os.PathLike[str]] = ()
    adapter: bool | None = None
    device: str = "cpu"
    seed: int = 0
    do_not_merge: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(Report):
    """What ``protect_by_training`` would do."""

    kind: ClassVar[str] = "plan"

    method: str
    parameters: Mapping[str, object]
    form: str
    rows_learned: int
    rows_learned_distinct: int
    rows_held_out: int
    rows_held_out_distinct: int
    siblings: int


def protect_by_training(
    expert: Model,
    base: Model,
    out: str | os.PathLike[str],
    *,
    method: TrainedProtection,
    options: TrainingOptions,
    write: WriteOptions | None = None,
    download: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> ProtectReport:
    """Train an expert so that it is good as it is and bad in a merge, and write it.

    Args:
      expert:   a fine-tune of ``base``, or an adapter on it.
      base:     the public base.
      out:      the folder to write.
      method:   the protection and its parameters, such as ``Trap2()``.
      options:  data, siblings, where and how.
      write:    how the folder is written.
      download: fetch models that the local cache lacks.
      say:      called with one line per look at the owner's loss.
      progress: called with (steps done, steps in all).
    Raises: UsageError, ArchError, MethodRefused, BadTask, BadText, Diverged, CheckpointError; the expert is what it
            was, and nothing is left behind but what an interrupted run goes on from.
    """
    with ExitStack() as stack:
        models = _opened(stack, [expert, *options.siblings], base, download)
        with shown(progress, "training") as step:
            content = verbs.train_protection(
                models[1],
                models[0],
                models[2:],
                _request(method, options),
                (write or WriteOptions()).into(out, step),
                say=say,
            )
    return ProtectReport(
        out=Path(out),
        method=method.name,
        parameters=content["parameters"],
        key_id=None,
        content_digest=content["output"]["content_digest"],
        limit=method.limit,
        trained=content["trained"],
        variant={"adapter": "an adapter", "model": "a whole model"}[content["parameters"]["as"]],
    )


def plan_training(
    expert: Model, base: Model, *, method: TrainedProtection, options: TrainingOptions, download: bool = False
) -> TrainingPlan:
    """Return what ``protect_by_training`` would do, after the checks that load no model."""
    with ExitStack() as stack:
        models = _opened(stack, [expert, *options.siblings], base, download)
        plan = verbs.plan_training(models[1], models[0], models[2:], _request(method, options))
    return built(TrainingPlan, plan)


def _opened(stack: ExitStack, experts: Sequence[Model], base: Model, download: bool) -> list[Checkpoint]:
    """Open the base and the experts, each of which may be an adapter on it."""
    folders = verbs.Models(stack)
    opened = folders.model(resolve(base, download=download))
    return [opened, *(folders.model_on(resolve(one, download=download), opened) for one in experts)]


def _request(method: TrainedProtection, options: TrainingOptions) -> "TrainingRequest":
    return verbs.TrainingRequest(
        method=method,
        data=verbs.OwnersData(
            data=Path(options.data),
            validation=None if options.validation is None else Path(options.validation),
            text=None if options.text is None else Path(options.text),
            siblings=tuple(map(Path, options.sibling_data)),
        ),
        adapter=options.adapter,
        device=options.device,
        seed=options.seed,
        do_not_merge=options.do_not_merge,
    )
