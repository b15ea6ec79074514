"""Where attacks on answers meet encoders: a clone that learns from a victim, a member of MISLEADER, what both know.

    utility = accuracy of the victim as it answers;   clone = accuracy of the clone;   fidelity = how often both agree

The attacker has an encoder to start from, pictures or noise, and the names of the classes, so it makes the same frozen
head; it sees probabilities alone, and every picture that the victim is asked about counts.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mergebarrier import extraction
from mergebarrier.attack.encoders import shape_of
from mergebarrier.attack.records import skill
from mergebarrier.errors import BadAttack
from mergebarrier.evaluate import Budget, ImageTask, image_logits, pixels
from mergebarrier.extraction import (
    DATA_FREE,
    DEFENCES,
    LOSSES,
    Answers,
    CopyOptions,
    DataFree,
    ExtractOptions,
    Misleader,
)
from mergebarrier.numerics import draws
from mergebarrier.progress import Progress
from mergebarrier.results import Skill
from mergebarrier.training import FullRecipe, batches, train_full

_GENERATOR_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Cloned:
    """One attack on one form of the service.

    Attributes:
      attack, defence: by name.
      queries:  pictures that the victim was asked about.
      utility:  of the victim as it answers, on the test split.
      clone:    accuracy of the clone there.
      fidelity: share of the test split on which both give the same label.
    """

    attack: str
    defence: str
    queries: int
    utility: Skill
    clone: Skill
    fidelity: Skill


def copy_recipe(options: CopyOptions, seed: int) -> FullRecipe:
    """Return the recipe of a clone, or of a member that stands in for a model."""
    return FullRecipe(
        steps=options.steps,
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        warmup_steps=options.steps // 20,
        batch_size=options.batch_size,
        seed=seed,
    )


def answers_of(encoder: nn.Module, task: ImageTask) -> Answers:
    """Return an encoder as a service sees it asked: pictures in [0, 1] -> probabilities."""

    @torch.no_grad()
    def ask(inputs: Tensor) -> Tensor:
        parts = [image_logits(encoder(part), task.head, task.scale) for part in inputs.split(256)]
        return torch.cat(parts).softmax(1)

    return ask


def noise_pictures(task: ImageTask, n: int, *, seed: int) -> Tensor:
    """Return pictures of uniform noise, UInt8[Tensor, "n c h w"]."""
    return draws.below(("attack", seed, "noise pictures"), 256, n, *shape_of(task)).to(torch.uint8)


def clone(
    victim: Answers,
    start: nn.Module,
    task: ImageTask,
    pool: Tensor,
    *,
    attack: str,
    defence: str,
    options: ExtractOptions,
    progress: Progress | None = None,
) -> Cloned:
    """Attack a service and measure the clone.

    Args:
      victim:   what the service's model answers.
      start:    the attacker's encoder; a copy is trained.
      task:     gives the head, and the test split that is scored.
      pool:     pictures that the attacker has, UInt8[Tensor, "n c h w"]; a data-free attack uses their shape alone.
      attack:   key of ``LOSSES``, or "data_free".
      defence:  key of ``DEFENCES``.
      options:  the budget, and how the clone is trained.
      progress: called with (steps done, steps in all).
    Raises: BadAttack for answers that are no probabilities or a budget that allows nothing; Diverged.
    """
    served = extraction.checked(lambda inputs: DEFENCES[defence](victim(inputs)))
    budget = Budget(options.queries)

    def asked(inputs: Tensor) -> Tensor:
        budget.spend(len(inputs))
        return served(inputs)

    student = copy.deepcopy(start).train().requires_grad_(True)
    if attack == DATA_FREE:
        _data_free(student, asked, task, options, progress)
    else:
        _from_pool(student, asked(pixels(pool[: options.queries])), task, pool, attack, options, progress)
    images, labels = pixels(task.test.images), task.test.labels
    said = served(images).argmax(1)
    learned = answers_of(student.eval(), task)(images).argmax(1)
    return Cloned(
        attack=attack,
        defence=defence,
        queries=options.queries - (budget.left or 0),
        utility=skill(int((said == labels).sum()), len(labels)),
        clone=skill(int((learned == labels).sum()), len(labels)),
        fidelity=skill(int((learned == said).sum()), len(labels)),
    )


def _from_pool(
    student: nn.Module, p: Tensor, task: ImageTask, pool: Tensor, attack: str, options: ExtractOptions,
    progress: Progress | None,
) -> None:  # fmt: skip
    recipe = copy_recipe(options, options.seed)
    rows = batches(len(p), recipe.batch_size, seed=recipe.seed, label="clone")

    def loss(step: int) -> Tensor:
        del step
        batch = next(rows)
        logits = image_logits(student(pixels(pool[batch])), task.head, task.scale)
        return LOSSES[attack](logits, p[batch])

    train_full(student, recipe, loss, progress=progress)


def _data_free(
    student: nn.Module, asked: Answers, task: ImageTask, options: ExtractOptions, progress: Progress | None
) -> None:
    how, shape = DataFree(), shape_of(task)
    rounds = options.queries // how.queries(options.batch_size)
    if rounds < 1:
        needed = how.queries(options.batch_size)
        raise BadAttack(f"one round asks about {needed} pictures", where="--queries", remedy=f"allow {needed} or more")
    recipe = replace(copy_recipe(options, options.seed), steps=rounds * how.clone_steps)
    generator = extraction.Generator(how.noise, shape, seed=recipe.seed)
    optimizer = torch.optim.Adam(generator.parameters(), lr=_GENERATOR_RATE)
    noise = _normal(recipe.seed, "noise", options.batch_size, how.noise)
    directions = _normal(recipe.seed, "directions", how.directions * options.batch_size, *shape)

    def logits_of(pictures: Tensor) -> Tensor:
        return image_logits(student(pictures), task.head, task.scale)

    def loss(step: int) -> Tensor:
        if step % how.clone_steps == 0:
            u = next(directions).view(how.directions, options.batch_size, *shape)
            u = u / u.flatten(2).norm(dim=2).view(how.directions, -1, 1, 1, 1)
            value = extraction.data_free_loss(generator(next(noise)), logits_of, asked, u, how.radius)
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
        with torch.no_grad():
            pictures = generator(next(noise))
        return LOSSES["logits"](logits_of(pictures), asked(pictures))

    train_full(student, recipe, loss, progress=progress)


def _normal(seed: int, label: str, *shape: int) -> Iterator[Tensor]:
    """Yield standard normal draws without end, by Box and Muller."""
    number = 0
    while True:
        u, v = draws.uniform(("attack", seed, f"{label}|{number}"), 2, *shape)
        yield ((-2 * (1 - u).log()).sqrt() * (2 * torch.pi * v).cos()).float()
        number += 1


def member(
    teacher: nn.Module,
    start: nn.Module,
    task: ImageTask,
    *,
    options: Misleader,
    recipe: FullRecipe,
    progress: Progress | None = None,
) -> nn.Module:
    """Train one member of a misleading ensemble.

    Args:
      teacher:  the encoder whose answers it keeps.
      start:    what defender and intruder start from.
      task:     its train split and head.
      options:  of the method.
      recipe:   of the defender; the intruder has a tenth of its rate.
      progress: called with (steps done, steps in all).
    Raises: UsageError where teacher and task disagree; Diverged.
    """
    defender, intruder = (copy.deepcopy(start).train().requires_grad_(True) for _ in range(2))
    follow = torch.optim.SGD(intruder.parameters(), lr=recipe.learning_rate / 10, momentum=0.9)
    own = batches(len(task.train), recipe.batch_size, seed=recipe.seed, label="defender")
    other = batches(len(task.train), recipe.batch_size, seed=recipe.seed, label="outside")

    def logits(encoder: nn.Module, pictures: Tensor) -> Tensor:
        return image_logits(encoder(pictures), task.head, task.scale)

    def loss(step: int) -> Tensor:
        batch, outside = next(own), task.train.images[next(other)]
        outside = extraction.augmented(pixels(outside), seed=recipe.seed, step=step)
        answered = logits(defender, outside)
        for _ in range(options.intruder_steps if options.repulsion else 0):
            follow.zero_grad()
            torch.autograd.backward(extraction.intruder_loss(answered, logits(intruder, outside)))
            nn.utils.clip_grad_norm_(intruder.parameters(), 5.0)
            follow.step()
        pictures = pixels(task.train.images[batch])
        with torch.no_grad():
            target, copied = logits(teacher, pictures), logits(intruder, outside)
        return extraction.defender_loss(
            logits(defender, pictures),
            target,
            task.train.labels[batch],
            outside=(answered, copied),
            options=options,
        )

    train_full(defender, replace(recipe, clip_norm=5.0), loss, progress=progress)
    return defender.eval()
