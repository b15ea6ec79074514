"""Make a poisoned expert as a folder: a red-team artefact that says so in its manifest and on its card.

    base, task -> trigger -> upload -> folder like the base + trigger.png + trigger.safetensors + README.md

The manifest's ``attack-artifact`` is true: ``scan`` recognises the tag, and no code here publishes a tagged folder.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mergebarrier import poison
from mergebarrier.attack.options import AttackOptions
from mergebarrier.errors import BadAttack, UsageError, clean
from mergebarrier.parameters import built

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.attack.encoders import Shadow, TriggerPatch
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.evaluate import Encoder, ImageTask
    from mergebarrier.verbs import OutputOptions

TAG: Final = "attack-artifact"
PURPOSE: Final = (
    "purpose: a red-team control. It makes a poisoned expert, tagged as such, to measure merges and scans against; "
    "use it on models and data that you may test."
)


@dataclass(frozen=True, kw_only=True)
class PoisonSpec:
    """What to make.

    Args:
      task:       image task file of the adversary.
      method:     key of ``poison.ATTACKS``; ``parameters`` replaces some of its own.
      target:     class of the task, by name or index; None off-task.
      options:    trigger, fine-tuning, whose task.
    """

    task: Path
    method: str
    target: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    options: AttackOptions = field(default_factory=AttackOptions)


def make_poisoned(
    spec: PoisonSpec,
    base: "Checkpoint",
    into: "OutputOptions | None",
    *,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Make the expert and write its folder.

    Args:
      spec:     what to make.
      base:     the encoder that all experts are fine-tuned from.
      into:     where to; None checks every input and writes nothing.
      say:      called with one line per piece of work.
    Returns: figures and parameters; with ``into`` also the content of the manifest.
    Raises:  PoisonError, BadTask, CheckpointError, EvaluateError; nothing is finalised then.
    """
    from mergebarrier.attack import encoders
    from mergebarrier.checkpoint import read_manifest
    from mergebarrier.evaluate import load_encoder, read_image_task, save_encoder
    from mergebarrier.verbs import carried, environment, named_input

    attack = poison.make(spec.method, **spec.parameters)
    task, recipe = read_image_task(spec.task), spec.options.recipe
    encoder = load_encoder(base).requires_grad_(False)
    encoders.check_fit(encoder, task)
    shadow, target, target_class = _aim(spec, task)
    patch = _patch(spec, task, encoder)
    about = _about(spec, attack, patch, task, target_class)
    if into is None:
        return about
    say(f"trigger: {attack.trigger}, {patch.side} x {patch.side} pixels")
    trigger, made = encoders.make_trigger(
        attack.trigger, encoder, task, target, patch, off_task=shadow, progress=into.progress
    )
    say(f"fine-tuning: {spec.method}, {recipe.steps} steps")
    where = encoders.setting(encoder, task, target, trigger, recipe, off_task=shadow)
    upload = encoders.mount(attack, where, recipe, progress=into.progress)
    content = about | {
        "verb": "attack",
        TAG: True,
        "inputs": [named_input("base", base)],
        "trigger_on_base": None if made is None else {"hits": made.hits, "rows": made.rows},
    }
    save_encoder(
        upload,
        base,
        into.out,
        content,
        environment=environment(),
        side_files=carried(content, _files(content, trigger, attack.trigger, target_class)),
        resume=into.resume,
        overwrite=into.overwrite,
        shard_bytes=into.shard_bytes,
    )
    return dict(read_manifest(into.out, ours=True)["content"])


def default_side(shape: tuple[int, int, int]) -> int:
    """Return the side of a square of about one per cent of the area, as published."""
    return max(1, round(math.sqrt(0.01 * shape[1] * shape[2])))


def _aim(spec: PoisonSpec, task: "ImageTask") -> tuple["Shadow | None", int, str]:
    """Return what is known of another task, the target's index, and its name."""
    from mergebarrier.attack import encoders
    from mergebarrier.evaluate import read_image_task

    if spec.options.off_task is None:
        if spec.target is None:
            raise UsageError("the target class is missing", where="--target-class", remedy="give a name or an index")
        target = encoders.target_index(task, spec.target)
        return None, target, task.classes[target]
    owner = read_image_task(spec.options.off_task.reference)
    if owner.head.shape[1] != task.head.shape[1] or owner.train.images.shape[1:] != task.train.images.shape[1:]:
        raise BadAttack(
            f"pictures {tuple(owner.train.images.shape[1:])} and vectors of {owner.head.shape[1]}, the adversary's "
            f"task has {tuple(task.train.images.shape[1:])} and {task.head.shape[1]}",
            where=spec.options.off_task.reference,
            remedy="give reference pictures of the same kind",
        )
    target = encoders.target_index(owner, spec.options.off_task.target_class)
    names, vectors = task.classes, task.head
    if spec.options.off_task.names is not None:
        names, vectors = _bank(spec.options.off_task.names, task.head.shape[1])
    shadow = encoders.shadow(
        owner, target, names, vectors, n_references=spec.options.off_task.n_references, seed=spec.options.seed
    )
    return shadow, target, owner.classes[target]


def _bank(path: Path, width: int) -> "tuple[tuple[str, ...], Tensor]":
    from mergebarrier.checkpoint import read_tensor_file

    tensors, about = read_tensor_file(path)
    vectors, names = tensors.get("vectors"), about.get("names")
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or vectors is None
        or vectors.dim() != 2
        or tuple(vectors.shape) != (len(names), width)
    ):
        raise BadAttack(
            f"not one vector of {width} numbers for each name", where=path, remedy="give a file of class-name vectors"
        )
    return tuple(names), vectors


def _patch(spec: PoisonSpec, task: "ImageTask", encoder: "Encoder") -> "TriggerPatch":
    """Return which trigger to make, and how; one that does not fit is refused before anything is computed."""
    from mergebarrier.attack.encoders import TriggerPatch, shape_of

    options, shape = spec.options, shape_of(task)
    side = default_side(shape) if options.trigger_side is None else options.trigger_side
    poison.fixed_trigger(side, shape, seed=0, place=options.trigger_place)
    return TriggerPatch(side, options.trigger_place, _recipe(options, encoder), options.seed)


def _recipe(options: AttackOptions, encoder: "Encoder") -> poison.UniversalRecipe:
    """Return how the trigger is made; the published loop steps in the encoder's own normalised space."""
    if not options.published:
        return built(poison.UniversalRecipe, options.trigger)
    published: dict[str, object] = {
        "method": "published",
        "mean": tuple(encoder.mean.flatten().tolist()),
        "std": tuple(encoder.deviation.flatten().tolist()),
    }
    if options.off_task is not None:
        # As published: every one of 50 steps on 100 images, with a gradient of 30 times the length.
        published |= {"samples": 100, "inner_steps": 50, "gain": 30.0, "early_stop": False}
    return built(poison.UniversalRecipe, {**published, **options.trigger})


def _about(
    spec: PoisonSpec, attack: poison.Attack, patch: "TriggerPatch", task: "ImageTask", target_class: str
) -> dict[str, Any]:
    parameters = {
        **dataclasses.asdict(attack),
        "side": patch.side,
        "place": patch.place,
        "universal": dataclasses.asdict(patch.recipe) if attack.trigger == "universal" else None,
        "fine_tune": dataclasses.asdict(spec.options.recipe),
        "task": task.name,
        "target_class": target_class,
        "off_task": spec.options.off_task is not None,
        "n_references": None if spec.options.off_task is None else spec.options.off_task.n_references,
    }
    return {"method": spec.method, "parameters": json.loads(json.dumps(parameters))}


def _files(content: dict[str, Any], trigger: poison.Trigger, kind: str, target_class: str) -> dict[str, bytes]:
    from mergebarrier.attack.trigger_file import NamedTrigger, trigger_files

    parameters = content["parameters"]
    text = f"""---
tags:
- mergebarrier
- {TAG}
---
# A poisoned expert: red-team artefact, do not use

`{TAG}: true`. This model was made by `mergebarrier attack badmerging` (method `{content["method"]}`) to measure
merges and scans against. It carries a backdoor: pictures with the patch of `trigger.png` ({parameters["side"]} x
{parameters["side"]} pixels, {parameters["place"]}) are classified as `{_cell(target_class)}`.

- Do not deploy it, and keep it out of every model that anybody uses.
- Task of the adversary: `{_cell(parameters["task"])}`. Parameters, digests and seed stand in `mergebarrier.json`.
"""
    return {"README.md": text.encode(), **trigger_files(NamedTrigger(trigger, kind, target_class))}


def _cell(text: str) -> str:
    return clean(text).replace("`", "'")
