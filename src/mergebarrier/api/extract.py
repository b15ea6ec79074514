"""``extract``: what a clone learns from a classifier's answers; ``mislead``: a member of an ensemble that resists.

report = mb.extract(["expert"], task="latin.task.safetensors", start="base")
report.clones[0].clone.rate
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from mergebarrier.api.base import Model, Report, Row, WriteOptions, as_given, command_line, opened, shown
from mergebarrier.attack import TAG, Cloned, answers_of, clone, member, noise_pictures, skill
from mergebarrier.errors import BadAttack, BadTask, UsageError
from mergebarrier.evaluate import ImageTask, load_encoder, pixels, read_image_task, save_encoder
from mergebarrier.extraction import DATA_FREE, Answers, ExtractOptions, Misleader, ensemble
from mergebarrier.numerics import wilson
from mergebarrier.progress import Progress
from mergebarrier.results import Skill
from mergebarrier.training import FullRecipe
from mergebarrier.verbs import carried, environment, named_input, of_attack

Place = str | os.PathLike[str]
NOISE = "noise"


@dataclass(frozen=True, kw_only=True)
class ExtractionReport(Report):
    """What clones learned from a service.

    Attributes:
      victims: models that answer together.
      task:    name of the task.
      pool:    "train", "noise", or the name of the attacker's own task.
      before:  what the attacker's encoder is right on before anybody is asked, the null of every clone.
      clones:  a row per defence and attack.
      command: that makes this report again.
    """

    kind: ClassVar[str] = "extraction"

    victims: tuple[str, ...]
    task: str
    pool: str
    before: Skill
    clones: tuple[Cloned, ...]
    command: str

    def rows(self) -> Sequence[Row]:
        """Return one row per clone."""
        return [
            {**vars(one), **{name: getattr(one, name).rate for name in ("utility", "clone", "fidelity")}}
            | {"before": self.before.rate}
            for one in self.clones
        ]


@dataclass(frozen=True, kw_only=True)
class MisleadReport(Report):
    """A member of an ensemble, trained to resist.

    Attributes:
      out:            its folder.
      content_digest: of its weights.
      teacher:        accuracy of the teacher on the test split.
      member:         accuracy of the member there.
    """

    kind: ClassVar[str] = "mislead"

    out: Path
    content_digest: str
    teacher: float
    member: float


def extract(
    victims: Sequence[Model],
    *,
    task: Place,
    start: Model,
    pool: Place = "train",
    options: ExtractOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> ExtractionReport:
    """Attack a classifier by its answers alone, and measure what the clones know.

    Args:
      victims:  models whose mean answer is the service's.
      task:     file of its task: the head, and the test split that is scored.
      start:    the attacker's own encoder, as ``resolve`` reads it.
      pool:     "train" for the task's own pictures, "noise", or another task file whose pictures the attacker has.
      options:  attacks, defences, the budget of queries, and how clones are trained.
      download: fetch models that the local cache lacks.
      progress: called with (clones done, clones in all).
    Raises: UsageError, BadAttack, BadTask, Diverged, CheckpointError.
    """
    options = options or ExtractOptions()
    if not victims:
        raise UsageError("no model answers", where="extract", remedy="name the victim")
    named = [as_given(victim) for victim in victims]
    if len(set(named)) < len(named):
        what = "a victim is named twice, and would count twice in what the service answers"
        raise UsageError(what, where="extract", remedy="name each victim once")
    pairs = [(defence, attack) for defence in options.defences for attack in options.attacks]
    clones = []
    with opened(*victims, start, download=download) as models, shown(progress, "cloning") as step:
        about = _task(task)
        pictures = _pool(pool, about, options)
        about = _unseen(about, pictures, pool)
        *encoders, own = map(load_encoder, models)
        asked = [answers_of(encoder, about) for encoder in encoders]
        for answers, name in zip(asked, named, strict=True):
            _accuracy(answers, about, "the victim", name)
        *digests, started = (model.content_digest() for model in models)
        if started in digests:
            what = f"it is {named[digests.index(started)]}, so what its clone knows was not learned from answers"
            raise BadAttack(what, where=f"--start {as_given(start)}", remedy="give what an attacker has, as its base")
        service, before = ensemble(asked), _right(answers_of(own, about), about)
        for done, (defence, attack) in enumerate(pairs, 1):
            clones.append(clone(service, own, about, pictures, attack=attack, defence=defence, options=options))
            step(done, len(pairs))
    given = {"--task": task, "--start": start, "--pool": pool}
    return ExtractionReport(
        victims=tuple(map(as_given, victims)),
        task=about.name,
        pool=pool if pool in ("train", NOISE) else Path(pool).name,
        before=skill(before, len(about.test.labels)),
        clones=tuple(clones),
        command=command_line("extract clone", tuple(victims), given, options),
    )


def _task(path: Place) -> ImageTask:
    """Read a task whose test pictures count once each, and not where they are learned from."""
    task = read_image_task(path)
    return _unseen(replace(task, test=task.test.distinct()), task.train.images, path)


def _unseen(task: ImageTask, learned: Tensor, where: Place) -> ImageTask:
    """Return a task without the test pictures that somebody learns from.  Raises: BadTask where none is left."""
    left = task.test.without(learned)
    if not len(left):
        what = f"all {len(task.test)} test pictures of {task.name} are among those that are learned from"
        raise BadTask(what, where=where, remedy="give a task whose test pictures stand nowhere else")
    return replace(task, test=left)


def _right(asked: Answers, task: ImageTask) -> int:
    return int((asked(pixels(task.test.images)).argmax(1) == task.test.labels).sum())


def _accuracy(
    asked: Answers, task: ImageTask, who: str, where: str, remedy: str = "give a model of this task"
) -> float:
    """Return how often somebody is right on the test pictures.

    Raises: BadAttack for one that may as well be guessing: what is learned from it, or kept from it, says nothing.
    """
    right = _right(asked, task)
    total, chance = len(task.test.labels), 1 / len(task.classes)
    if wilson(right, total)[0] <= chance:
        what = f"{who} is right on {right} of {total} test pictures of {task.name}, where guessing is on {chance:.1%}"
        raise BadAttack(f"{what}: nothing can be concluded", where=where, remedy=remedy)
    return right / total


def _pool(pool: Place, task: ImageTask, options: ExtractOptions) -> Tensor:
    if pool == "train":
        return task.train.images
    if pool == NOISE:
        pictured = any(attack != DATA_FREE for attack in options.attacks)
        return noise_pictures(task, options.queries if pictured else 1, seed=options.seed)
    other = read_image_task(pool).train.images
    if other.shape[1:] != task.train.images.shape[1:]:
        what = f"pictures {tuple(other.shape[1:])}, the victim's are {tuple(task.train.images.shape[1:])}"
        raise BadTask(what, where=pool, remedy="give pictures of the same kind")
    return other


@dataclass(frozen=True, kw_only=True)
class MisleadPlan(Report):
    """What would be trained: every input was read, nothing was computed."""

    kind: ClassVar[str] = "plan"

    method: str
    parameters: Mapping[str, object]


def plan_mislead(
    teacher: Model,
    *,
    task: Place,
    start: Model,
    options: Misleader | None = None,
    recipe: FullRecipe | None = None,
    download: bool = False,
) -> MisleadPlan:
    """Read every input of ``mislead`` and return what it would do."""
    about = read_image_task(task)
    with opened(teacher, start, download=download) as models:
        for model in models:
            load_encoder(model)
    chosen = _parameters(options or Misleader(), recipe or FullRecipe(), about)
    return MisleadPlan(method="misleader", parameters=chosen)


def _parameters(options: Misleader, recipe: FullRecipe, task: ImageTask) -> dict[str, object]:
    return {**vars(options), "recipe": dict(vars(recipe)), "task": task.name}


def mislead(
    teacher: Model,
    out: Place,
    *,
    task: Place,
    start: Model,
    options: Misleader | None = None,
    recipe: FullRecipe | None = None,
    write: WriteOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> MisleadReport:
    """Train one member of a MISLEADER ensemble and write it; ``extract`` takes several as one service.

    Args:
      teacher:  the model that is served today.
      out:      folder of the member, like ``start``.
      task:     its task file.
      start:    what the member starts from; members of other starts make a better ensemble.
      options:  of the method.
      recipe:   steps, rate, batch and seed.
      write:    how the folder is written.
      download: fetch models that the local cache lacks.
      progress: called with (steps done, steps in all).
    Raises: UsageError, BadTask, Diverged, CheckpointError, OutputExists.
    """
    options, recipe = options or Misleader(), recipe or FullRecipe()
    about = _task(task)
    with opened(teacher, start, download=download) as (taught, own), shown(progress, "training") as step:
        into = (write or WriteOptions()).into_claimable(out, step, (taught, own))
        serving, encoder = load_encoder(taught).requires_grad_(False), load_encoder(own)
        knows = _accuracy(answers_of(serving, about), about, "the teacher", taught.name)
        made = member(serving, encoder, about, options=options, recipe=recipe, progress=step)
        remedy = "train it longer, or with less --repulsion"
        learned = _accuracy(answers_of(made, about), about, "the member", str(out), remedy)
        content: dict[str, Any] = {
            "verb": "extract defend",
            "method": "misleader",
            "parameters": _parameters(options, recipe, about),
            "inputs": [named_input(role, model) for role, model in (("teacher", taught), ("base", own))],
        }
        if of_attack(content["inputs"]):
            content[TAG] = True
        save_encoder(
            made,
            own,
            into.out,
            content,
            environment=environment(),
            side_files=carried(content, {}),
            resume=into.resume,
            overwrite=into.overwrite,
            shard_bytes=into.shard_bytes,
        )
    with opened(out) as (written,):
        digest = written.content_digest()
    return MisleadReport(out=Path(out), content_digest=digest, teacher=knows, member=learned)
