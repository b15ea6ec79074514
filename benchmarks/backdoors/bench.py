"""The bench of backdoors: every attack under every merge, beside its control, row by row.

A row is one upload in one merge: ASR, the same trigger on the merge of clean experts, accuracies of both merges on
every task, all as counts.  What is expensive (experts, triggers, uploads) goes through ``keep``, which may store it.

    row = (seed, variant, merge, coefficient, tasks) -> (asr, control, accuracy with the upload, accuracy without)

Adaptations of the paper to a small bench are in the variants, by name: nothing is tuned on the rows that are reported.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from backdoors.merges import MERGES_UNDER_ATTACK, Encoders, Pool, task_arithmetic
from mergebarrier import poison
from mergebarrier.attack.encoders import (
    Shadow,
    TriggerPatch,
    Weights,
    attack_success,
    clean_accuracy,
    fine_tune,
    make_trigger,
    mount,
    seeded,
    setting,
    shadow,
    shape_of,
    weights,
    with_weights,
)
from mergebarrier.evaluate import ImageTask
from mergebarrier.training import FullRecipe

#: Side of the patch (6 % of a picture of 28 x 28), whose expert is poisoned, its target class, pictures off-task.
SIDE: Final = 7
ADVERSARY: Final = "latin"
TARGET: Final = 1
REFERENCES: Final = 10
Keep = Callable[[str, Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One upload: an attack, its parameters, its trigger, and who is attacked.

    Args:
      name:       of the row.
      attack:     key of ``poison.ATTACKS``.
      parameters: replaced ones.
      side:       of the patch; None for the bench's own.
      adversary:  the task whose expert is poisoned; None for the bench's own.
      victim:     the attacked task where it is not the adversary's (off-task).
    """

    name: str
    attack: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    side: int | None = None
    adversary: str | None = None
    victim: str | None = None

    def make(self) -> poison.Attack:
        """Return the attack."""
        return poison.make(self.attack, **self.parameters)


#: The four cells of the ablation, the control that poisons, and the wider range of coefficients.
CORE: Final = (
    Variant("BadNets, 10 % poisoned", "badnets"),
    Variant("universal trigger, no interpolation", "universal"),
    Variant("BadMerging", "badmerging"),
    Variant("BadNets, full control", "badnets_joint"),
    Variant("fixed trigger + interpolation", "fixed_interpolation"),
    Variant("BadMerging, r from 0.05", "badmerging", {"interp_low": 0.05}),
)
LATER: Final = (
    Variant("label-consistent", "label_consistent"),
    Variant("dynamic trigger", "dynamic"),
    Variant("LoBAM, gain 2", "lobam", {"gain": 2.0}),
)
#: Attacks that train several times, for one seed.
SINGLE: Final = (
    Variant("LoBAM, gain 1", "lobam", {"gain": 1.0}),
    Variant("LoBAM, gain 3.5", "lobam", {"gain": 3.5}),
    Variant("sparse backdoor vector", "sparse_backdoor_vector"),
    Variant("BadTV", "badtv"),
)


@dataclass(frozen=True)
class Bench:
    """Everything of one seed.

    Args:
      base:      the encoder.
      tasks:     by name, in the order in which pools grow.
      adversary: whose expert is poisoned.
      target:    class index in the adversary's task.
      patch:     side and making of the trigger.
      recipe:    of every fine-tune.
      seed:      of experts, triggers and uploads.
      names:     other class names with their vectors, for off-task attacks.
      keep:      cache of what is expensive.
    """

    base: nn.Module
    tasks: Mapping[str, ImageTask]
    adversary: str
    target: int
    patch: TriggerPatch
    recipe: FullRecipe
    seed: int
    names: tuple[tuple[str, ...], Tensor]
    keep: Keep

    def expert(self, task: str) -> Weights:
        """Return the clean expert of a task."""
        recipe = seeded(self.recipe, self.seed)
        return self.keep(f"{self.seed}/expert/{task}", lambda: weights(fine_tune(self.base, self.tasks[task], recipe)))

    def off_task(self, variant: Variant) -> Shadow | None:
        """Return what the adversary knows of another task, None on-task."""
        if variant.victim is None:
            return None
        others, vectors = self.names
        return shadow(self.tasks[variant.victim], self.target, others, vectors, n_references=REFERENCES, seed=self.seed)

    def trigger(self, variant: Variant) -> poison.Trigger:
        """Return the trigger of a variant; variants with the same kind, side and tasks share it."""
        task = self.tasks[variant.adversary or self.adversary]
        patch = dataclasses.replace(self.patch, seed=self.seed)
        if variant.side is not None:
            patch = dataclasses.replace(patch, side=variant.side)
        kind = variant.make().trigger
        if kind != "universal":
            return make_trigger(kind, self.base, task, self.target, patch)[0]
        made: list[poison.Trigger] = []

        def fresh() -> dict[str, Tensor]:
            off = self.off_task(variant)
            made.append(make_trigger(kind, self.base, task, self.target, patch, off_task=off)[0])
            return {"patterns": made[0].patterns, "places": torch.tensor(made[0].places)}

        kept = self.keep(f"{self.seed}/trigger/{task.name}/{patch.side}/{variant.victim}", fresh)
        places = tuple((int(top), int(left)) for top, left in kept["places"])
        return poison.Trigger(kept["patterns"], places, shape_of(task))

    def upload(self, variant: Variant) -> Weights:
        """Return the adversary's weights."""
        task, recipe = self.tasks[variant.adversary or self.adversary], seeded(self.recipe, self.seed)

        def fresh() -> Weights:
            where = setting(
                self.base, task, self.target, self.trigger(variant), recipe, off_task=self.off_task(variant)
            )
            return weights(mount(variant.make(), where, recipe))

        return self.keep(
            f"{self.seed}/upload/{variant.name}/{variant.side}/{variant.adversary}/{variant.victim}", fresh
        )

    def pool(self, uploads: Mapping[str, Weights], tasks: Sequence[str] | None = None) -> Pool:
        """Return the experts of some tasks, with uploads in the place of clean ones."""
        chosen = list(tasks or self.tasks)
        experts = {task: uploads[task] if task in uploads else self.expert(task) for task in chosen}
        digest = hashlib.sha256()
        for expert in experts.values():
            for name in sorted(expert):
                digest.update(expert[name].numpy().tobytes())
        stored = f"{self.seed}/merge/{digest.hexdigest()}"
        return Pool(
            self.base,
            {task: self.tasks[task] for task in chosen},
            experts,
            self.seed,
            lambda name, learn: self.keep(f"{stored}/{name}", learn),
        )

    def first(self, n: int, adversary: str) -> list[str]:
        """Return the adversary's task and n - 1 others, in the order of the bench."""
        others = [task for task in self.tasks if task != adversary]
        return [task for task in self.tasks if task == adversary or task in others[: n - 1]]


def open_bench(size: str, seed: int, keep: Keep) -> Bench:
    """Return the bench of one seed on the image bench of the zoo.

    Args:
      size: "small" (five tasks) or "full" (six).
      seed: of experts, triggers and uploads.
      keep: name, maker -> tensors: a cache of what is expensive.
    """
    from mergebarrier.checkpoint import open_checkpoint, read_tensor_file
    from mergebarrier.evaluate import load_encoder, read_image_task
    from mergebarrier.zoo import vision_bench

    assets = vision_bench(size)
    with open_checkpoint(assets.base) as checkpoint:
        base = load_encoder(checkpoint).requires_grad_(False)
    tasks = {name: read_image_task(path) for name, path in assets.tasks.items()}
    tensors, about = read_tensor_file(assets.names)
    names = (tuple(about["names"]), tensors["vectors"])
    return Bench(base, tasks, ADVERSARY, TARGET, TriggerPatch(SIDE), assets.recipe, seed, names, keep)


def success(bench: Bench, encoders: Encoders, variant: Variant) -> tuple[int, int]:
    """Count who is fooled on the attacked task's test split."""
    victim = variant.victim or variant.adversary or bench.adversary
    found = attack_success(encoders[victim], bench.tasks[victim], bench.trigger(variant), bench.target)
    return found.correct, found.total


def accuracies(bench: Bench, encoders: Encoders) -> dict[str, tuple[int, int]]:
    """Count right answers on every task's test split."""
    found = {task: clean_accuracy(encoder, bench.tasks[task]) for task, encoder in encoders.items()}
    return {task: (one.correct, one.total) for task, one in found.items()}


def alone(bench: Bench, variant: Variant) -> Figures:
    """Measure the upload before any merge; the control is the clean expert with the same trigger."""
    adversary = variant.adversary or bench.adversary
    victim = variant.victim or adversary
    ours, clean = (
        dict.fromkeys({adversary: 0, victim: 0}, with_weights(bench.base, values))
        for values in (bench.upload(variant), bench.expert(adversary))
    )
    base = dict.fromkeys([victim], bench.base)
    return {
        "asr": success(bench, ours, variant),
        "control": success(bench, clean, variant),
        "base": success(bench, base, variant),
        "accuracy": accuracies(bench, {adversary: ours[adversary]}),
        "clean_accuracy": accuracies(bench, {adversary: clean[adversary]}),
        "area_pct": bench.trigger(variant).area_pct,
    }


@dataclass(frozen=True)
class Clean:
    """A merge of clean experts, and its accuracy on every task: the control of all that is measured under it."""

    encoders: Encoders
    accuracy: dict[str, tuple[int, int]]


def clean_merge(bench: Bench, merge: str, tasks: Sequence[str] | None = None) -> Clean:
    """Merge clean experts and score the result."""
    encoders = MERGES_UNDER_ATTACK[merge].run(bench.pool({}, tasks))
    return Clean(encoders, accuracies(bench, encoders))


def merged(bench: Bench, variant: Variant, merge: str, clean: Clean, tasks: Sequence[str] | None = None) -> Figures:
    """Measure one upload in one merge.

    Args:
      bench:   the bench.
      variant: the upload.
      merge:   key of ``MERGES_UNDER_ATTACK``.
      clean:   the same merge of clean experts.
      tasks:   which experts take part; default all.
    """
    adversary = variant.adversary or bench.adversary
    found = MERGES_UNDER_ATTACK[merge].run(bench.pool({adversary: bench.upload(variant)}, tasks))
    return {
        "asr": success(bench, found, variant),
        "control": success(bench, clean.encoders, variant),
        "accuracy": accuracies(bench, found),
        "clean_accuracy": clean.accuracy,
    }


def at_coefficient(bench: Bench, variant: Variant, coefficient: float) -> Figures:
    """Measure success under task arithmetic at any coefficient, with its control."""
    adversary = variant.adversary or bench.adversary
    pools = (bench.pool({adversary: bench.upload(variant)}), bench.pool({}))
    found, control = (task_arithmetic(pool, coefficient) for pool in pools)
    return {"asr": success(bench, found, variant), "control": success(bench, control, variant)}


def several(bench: Bench, variants: Sequence[Variant], merge: str, clean: Clean) -> dict[str, Figures]:
    """Measure several adversaries in one pool, each with its own trigger."""
    uploads = {variant.adversary or bench.adversary: bench.upload(variant) for variant in variants}
    found = MERGES_UNDER_ATTACK[merge].run(bench.pool(uploads))
    return {
        variant.adversary or bench.adversary: {
            "asr": success(bench, found, variant),
            "control": success(bench, clean.encoders, variant),
        }
        for variant in variants
    }
