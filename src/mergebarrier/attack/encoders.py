"""Where attacks meet encoders: make a trigger, run an attack, merge, and count the images that are misclassified, all
in memory.

    trigger (poison, on the base) -> upload (poison, by the loop of training) -> merge (merge) -> counts (evaluate)

Every success rate is measured together with its control: the same trigger on the same merge of clean experts.  The
excess is their difference, with Newcombe's interval for two independent shares; since both are measured on the same
rows, a paired interval would be narrower.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mergebarrier import poison
from mergebarrier.attack.records import skill
from mergebarrier.errors import BadAttack, BadMergeParameter, BadTask, clean
from mergebarrier.evaluate import ImageSplit, ImageTask, accuracy, image_logits, pixels, predict
from mergebarrier.progress import Progress
from mergebarrier.results import Skill
from mergebarrier.training import FullRecipe, batches, train_full

if TYPE_CHECKING:
    from mergebarrier.merge import Merge

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Shadow:
    """What an off-task adversary knows of the task that it attacks.

    Args:
      head:       Float32[Tensor, "classes features"], the target's name first, then other names.
      references: Float32[Tensor, "n channels height width"], a few pictures of the target, never of the test split.
    """

    head: Tensor
    references: Tensor


@dataclass(frozen=True)
class TriggerPatch:
    """Which trigger: side in pixels, corner, how a universal one is optimised, and the seed of its draws."""

    side: int
    place: str = "bottom-right"
    recipe: poison.UniversalRecipe = field(default_factory=poison.UniversalRecipe)
    seed: int = 0


def target_index(task: ImageTask, word: str) -> int:
    """Return the index of a class by its name, else by its number.

    Raises: BadAttack when the task has no such class.
    """
    if word in task.classes:
        return task.classes.index(word)
    if word.isdecimal() and len(word) < 10 and int(word) < len(task.classes):
        return int(word)
    shown = ", ".join(clean(name) for name in task.classes[:8])
    raise BadAttack(
        f"{clean(word)!r} is not one of its {len(task.classes)} classes",
        where=f"task {task.name}",
        remedy=f"give a name ({shown}, ...) or an index from 0 to {len(task.classes) - 1}",
    )


def check_fit(base: nn.Module, task: ImageTask) -> None:
    """Refuse a task whose head does not read the features of the base."""
    with torch.no_grad():
        here = next(base.parameters()).device
        features = base(pixels(task.train.images[:1]).to(here)).shape[-1]
    if features != task.head.shape[1]:
        raise BadTask(
            f"the head reads {task.head.shape[1]} features, the base gives {features}",
            where=f"task {task.name}",
            remedy="give the base that the task was made for",
        )


def shadow(
    owner: ImageTask, target: int, names: Sequence[str], vectors: Tensor, *, n_references: int, seed: int
) -> Shadow:
    """Collect what an off-task adversary knows.

    Args:
      owner:        the attacked task; of it only the class's name vector and some training pictures are used.
      target:       class index in it.
      names:        other class names that the adversary knows vectors of.
      vectors:      theirs, Float[Tensor, "names features"].
      n_references: pictures.
      seed:         of which.
    Raises: BadAttack when there are fewer pictures.
    """
    rows = poison.reference_rows(owner.train.labels, target, n_references, seed=seed)
    head = poison.shadow_head(owner.classes[target], owner.head[target], names, vectors, seed=seed)
    return Shadow(head, pixels(owner.train.images[rows]))


def make_trigger(
    kind: str,
    base: nn.Module,
    task: ImageTask,
    target: int,
    patch: TriggerPatch,
    *,
    off_task: Shadow | None = None,
    progress: Progress | None = None,
) -> tuple[poison.Trigger, poison.MadeTrigger | None]:
    """Make the trigger of an attack.

    Args:
      kind:     "universal", "fixed" or "dynamic".
      base:     the pre-trained encoder.
      task:     the adversary's; its training pictures make the trigger, its dev pictures choose among the starts.
      target:   class index in the task, ignored off-task.
      patch:    see TriggerPatch.
      off_task: what is known of another task, whose target is then meant.
      progress: called with (steps done, steps in all).
    Returns: the trigger, and for a universal one how it does on the base.
    """
    shape = shape_of(task)
    if kind == "fixed":
        return poison.fixed_trigger(patch.side, shape, seed=patch.seed, place=patch.place), None
    if kind == "dynamic":
        return poison.dynamic_trigger(patch.side, shape, seed=patch.seed), None
    if off_task is None:
        classify = functools.partial(image_logits, head=task.head, scale=task.scale)
        data = (pixels(task.train.images), task.train.labels)
        held_out = (pixels(task.dev.images), task.dev.labels)
    else:
        target = 0
        classify = functools.partial(image_logits, head=off_task.head, scale=task.scale)
        augmented = functools.partial(_through, base, classify)
        data = poison.shadow_images(augmented, off_task.references, poison.Augmentation(), seed=patch.seed)
        held_out = data
    made = poison.universal_trigger(
        functools.partial(_through, base, classify),
        *data,
        held_out,
        target,
        side=patch.side,
        seed=patch.seed,
        recipe=patch.recipe,
        place=patch.place,
        progress=progress,
    )
    return made.trigger, made


def setting(
    base: nn.Module,
    task: ImageTask,
    target: int,
    trigger: poison.Trigger,
    recipe: FullRecipe,
    *,
    off_task: Shadow | None = None,
) -> poison.Adversary:
    """Return what the adversary holds; batches are those of clean fine-tuning with the same recipe."""
    own = functools.partial(image_logits, head=task.head, scale=task.scale)
    aimed = own if off_task is None else functools.partial(image_logits, head=off_task.head, scale=task.scale)
    return poison.ImageAdversary(
        base=base,
        images=pixels(task.train.images),
        labels=task.train.labels,
        classify=own,
        payload=aimed,
        target=target if off_task is None else 0,
        own_target=target if off_task is None else None,
        trigger=trigger,
        rows=functools.partial(_batches, len(task.train), recipe),
        seed=recipe.seed,
    ).setting()


def mount(
    attack: poison.Attack, where: poison.Adversary, recipe: FullRecipe, *, progress: Progress | None = None
) -> nn.Module:
    """Return the adversary's encoder, in evaluation mode."""
    return attack.mount(where, lambda module, loss: train_full(module, recipe, loss, progress=progress)).eval()


def fine_tune(base: nn.Module, task: ImageTask, recipe: FullRecipe, *, progress: Progress | None = None) -> nn.Module:
    """Return a clean expert, trained on the batches that an adversary with this recipe would draw."""
    blank = poison.fixed_trigger(1, shape_of(task), seed=0)
    where = setting(base, task, 0, blank, recipe)
    encoder = poison.thawed(base)
    train_full(encoder, recipe, poison.clean_loss(where, encoder), progress=progress)
    return encoder.eval()


def weights(encoder: nn.Module) -> Weights:
    """Return copies of the parameters by name."""
    return {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}


def with_weights(base: nn.Module, values: Mapping[str, Tensor]) -> nn.Module:
    """Return a frozen copy of an encoder with other parameters."""
    encoder = copy.deepcopy(base).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            parameter.copy_(values[name])
            parameter.requires_grad_(False)
    return encoder


def merge_weights(method: "Merge", base: Weights, experts: Sequence[Weights], *, whole: bool = False) -> Weights:
    """Merge encoders with the engine's own arithmetic.

    Args:
      method:  from ``merge.make``.
      base:    its parameters.
      experts: theirs, two or more.
      whole:   treat the model as one flat vector, as the reference code of TIES does; by default tensor by tensor.
    Raises: BadMergeParameter with fewer than two experts; what the method raises.
    """
    if len(experts) < 2:
        raise BadMergeParameter(f"a merge of {len(experts)} experts", where="merge", remedy="give at least two")
    if not whole:
        return {
            name: method.merge(base[name], [expert[name] for expert in experts], name=name) for name in sorted(base)
        }
    names = sorted(base)
    flat = [torch.cat([one[name].reshape(-1) for name in names]) for one in (base, *experts)]
    merged = method.merge(flat[0], flat[1:], name="model")
    parts = merged.split([base[name].numel() for name in names])
    return {name: part.view_as(base[name]).clone() for name, part in zip(names, parts, strict=True)}


def scaled(base: Weights, model: Weights, scale: float) -> Weights:
    """Return base + scale * (model - base)."""
    return {name: base[name] + scale * (model[name] - base[name]) for name in base}


def attack_success(encoder: nn.Module, task: ImageTask, trigger: poison.Trigger, target: int) -> Skill:
    """Return the ASR on the test split: stamped pictures of other classes that get the target's label.

    Raises: NotMeasurable when the split holds the target class only.
    """
    predicted = predict(encoder, task.head, task.scale, trigger.stamp(pixels(task.test.images)))
    return skill(*poison.successes(predicted, task.test.labels, target))


def clean_accuracy(encoder: nn.Module, task: ImageTask, split: ImageSplit | None = None) -> Skill:
    """Return the accuracy on the test split, or another."""
    score = accuracy(encoder, task.head, task.scale, split or task.test)
    return skill(score.correct, score.total)


def seeded(recipe: FullRecipe, seed: int) -> FullRecipe:
    """Return the recipe with another seed."""
    return replace(recipe, seed=seed)


def shape_of(task: ImageTask) -> tuple[int, int, int]:
    """Return (channels, height, width) of a task's pictures."""
    channels, height, width = (int(n) for n in task.train.images.shape[1:])
    return channels, height, width


def _through(base: nn.Module, classify: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return classify(base(images))


def _batches(n: int, recipe: FullRecipe, label: str) -> Iterator[Tensor]:
    return batches(n, recipe.batch_size, seed=recipe.seed, label=label)
