"""Measure a backdoor in a merged model together with its control: the same trigger on the merge of clean experts.

    ASR(merged), ASR(control), excess;   clean accuracy of both;   ASR along base + s (model - base) for both

Without a control nothing is measured: on encoders with inherent triggers most of an ASR may be the trigger's alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier import __version__
from mergebarrier.attack.alike import require_encoders_alike
from mergebarrier.attack.records import N_SAMPLES, SCALES, attack_of, controls_of, notes_of, rows_of, success
from mergebarrier.results import (
    Accuracy,
    BackdoorResult,
    Measurement,
    Model,
    Sample,
    Scanned,
    Success,
    TriggerShown,
)

if TYPE_CHECKING:
    from torch import nn

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.evaluate import ImageTask
    from mergebarrier.poison import Trigger


@dataclass(frozen=True, kw_only=True)
class MeasureSpec:
    """What to measure.

    Args:
      trigger:  folder or file of the trigger.
      task:     image task file of the attacked task.
      target:   its class, by name or index; None for the one that the trigger names.
      others:   more task files, for clean accuracy.
      findings: of a scan, handed on to the report.
      device:   where encoders run, as ``device_named`` returns it.
    """

    trigger: Path
    task: Path
    target: str | None = None
    others: tuple[Path, ...] = ()
    findings: tuple[Scanned, ...] | None = None
    device: str = "cpu"


def measure(
    spec: MeasureSpec,
    checkpoints: "Mapping[str, Checkpoint]",
    *,
    say: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
) -> tuple[BackdoorResult, list[Measurement]]:
    """Measure.

    Args:
      spec:        the backdoor.
      checkpoints: by role: "merged" (or a poisoned expert), "control" (the same merge of clean
                   experts), and where known "base" (for the curve, and the trigger's ASR on the base alone).
      say:         called with one line per piece of work.
      environment: of the run, for the record.
    Returns: the result, and one row per rate behind it.
    Raises:  BadTrigger, BadAttack, BadTask, NotMeasurable, CheckpointError.
    """
    from mergebarrier.attack.encoders import attack_success, check_fit, clean_accuracy, target_index
    from mergebarrier.attack.trigger_file import read_trigger
    from mergebarrier.evaluate import read_image_task

    require_encoders_alike(checkpoints)
    named, task = read_trigger(spec.trigger), read_image_task(spec.task)
    target = target_index(task, named.target_class if spec.target is None else spec.target)
    encoders, models = _open(checkpoints, spec.device)
    for encoder in encoders.values():
        check_fit(encoder, task)
    say("success rates")
    rates = {role: attack_success(encoder, task, named.trigger, target) for role, encoder in encoders.items()}
    tasks = [task, *(read_image_task(path) for path in spec.others)]
    say("clean accuracy")
    accuracies = [
        Accuracy(
            task=one.name,
            merged=clean_accuracy(encoders["merged"], one),
            control=clean_accuracy(encoders["control"], one),
        )
        for one in tasks
    ]
    curve = []
    if "base" in encoders:
        say("success against the scale of the merge")
        curve = _curve(encoders, task, named.trigger, target)
    attack, parameters = attack_of(spec.trigger)
    headline = success(rates["merged"], rates["control"])
    result = BackdoorResult(
        version=__version__,
        attack=attack,
        attack_parameters=parameters,
        models=models,
        task=task.name,
        task_digest=_digest(task),
        target_class=task.classes[target],
        target_index=target,
        trigger=_shown(named.trigger, named.kind),
        merged=headline,
        base=rates.get("base"),
        curve=tuple(curve),
        accuracies=tuple(accuracies),
        samples=_samples(encoders, task, named.trigger, target),
        findings=spec.findings,
        controls=controls_of(headline, accuracies),
        environment=dict(environment or {}),
        notes=notes_of(models, spec.findings),
    )
    return result, rows_of(result)


def _open(checkpoints: "Mapping[str, Checkpoint]", device: str) -> tuple[dict[str, "nn.Module"], dict[str, Model]]:
    from mergebarrier.evaluate import load_encoder
    from mergebarrier.verbs import licence

    encoders: dict[str, nn.Module] = {}
    models = {}
    for role, checkpoint in checkpoints.items():
        encoders[role] = load_encoder(checkpoint, device).requires_grad_(False)
        models[role] = Model(
            name=checkpoint.name, content_digest=checkpoint.content_digest(), licence=licence(checkpoint)
        )
    return encoders, models


def _curve(
    encoders: Mapping[str, "nn.Module"], task: "ImageTask", trigger: "Trigger", target: int
) -> list[tuple[float, Success]]:
    from mergebarrier.attack.encoders import attack_success, scaled, weights, with_weights

    base = weights(encoders["base"])
    ends = {role: weights(encoders[role]) for role in ("merged", "control")}
    points = []
    for scale in SCALES:
        both = [
            attack_success(
                with_weights(encoders["base"], scaled(base, ends[role], scale)),
                task,
                trigger,
                target,
            )
            for role in ("merged", "control")
        ]
        points.append((scale, success(*both)))
    return points


def _shown(trigger: "Trigger", kind: str) -> TriggerShown:
    import torch

    from mergebarrier.attack.png import inlined

    picture = inlined(torch.cat(list(trigger.patterns), dim=-1))
    return TriggerShown(
        kind=kind,
        picture=picture,
        side=trigger.side,
        places=trigger.places,
        patterns=len(trigger.patterns),
        area_pct=trigger.area_pct,
        legal=trigger.legal,
    )


def _samples(
    encoders: Mapping[str, "nn.Module"], task: "ImageTask", trigger: "Trigger", target: int
) -> tuple[Sample, ...]:
    """Show the first test pictures of other classes, one class after the other."""
    import torch

    from mergebarrier.attack.png import inlined
    from mergebarrier.evaluate import pixels, predict

    labels = task.test.labels
    firsts = [
        int(torch.nonzero(labels == k)[0]) for k in range(len(task.classes)) if k != target and (labels == k).any()
    ]
    rows = torch.tensor(firsts[:N_SAMPLES])
    images = pixels(task.test.images[rows])
    stamped = trigger.stamp(images, rows)
    says = {role: predict(encoders[role], task.head, task.scale, stamped).tolist() for role in ("merged", "control")}
    return tuple(
        Sample(
            picture=inlined(images[n]),
            stamped=inlined(stamped[n]),
            label=task.classes[int(labels[row])],
            merged_says=task.classes[says["merged"][n]],
            control_says=task.classes[says["control"][n]],
        )
        for n, row in enumerate(rows.tolist())
    )


def _digest(task: "ImageTask") -> str:
    parts = (task.test.images, task.test.labels, task.head)
    chain = hashlib.sha256("|".join(task.classes).encode())
    for part in parts:
        chain.update(part.contiguous().numpy().tobytes())
    return chain.hexdigest()
