"""What every measurement of a backdoor records, of pictures or of text: a success never without its control.

success = (ASR, ASR of the control, excess with Newcombe's interval);   a row per rate
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mergebarrier.numerics import newcombe, wilson
from mergebarrier.results import (
    Accuracy,
    BackdoorResult,
    Control,
    Measurement,
    Model,
    Scanned,
    Skill,
    Success,
    TriggerShown,
)

#: Above this the trigger alone explains much of an ASR, and the excess is what counts.
INHERENT: Final = 0.15
#: Of the task vector of the upload, along the curve; and prompts or pictures that are shown.
SCALES: Final = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
N_SAMPLES: Final = 8


def success(asr: Skill, control: Skill) -> Success:
    """Return a success rate with its control and their difference."""
    over, low, high = excess(asr, control)
    return Success(asr=asr, control=control, excess=over, excess_low=low, excess_high=high)


def attack_of(trigger: Path) -> tuple[str, dict[str, Any]]:
    """Return method and plain parameters from the manifest next to the trigger, if there is one."""
    from mergebarrier.checkpoint import MANIFEST_NAME, read_manifest

    folder = trigger if trigger.is_dir() else trigger.parent
    content: Mapping[str, Any] = read_manifest(folder)["content"] if (folder / MANIFEST_NAME).exists() else {}
    if content.get("verb") != "attack":
        return "unknown", {}
    plain = {name: value for name, value in content["parameters"].items() if isinstance(value, str | int | float)}
    return str(content["method"]), plain


def controls_of(success: Success, accuracies: Sequence[Accuracy]) -> dict[str, Control]:
    """Return what must hold before a success means something: the trigger alone, and the utility that is kept."""
    clean, dirty = (
        sum(getattr(one, side).rate for one in accuracies) / len(accuracies) for side in ("control", "merged")
    )
    return {
        "trigger_alone": Control(
            passed=success.control.rate <= INHERENT,
            figure=success.control.rate,
            relation="<=",
            bound=INHERENT,
            says="The trigger by itself fools the clean merge less often than this; above it, read the excess only.",
        ),
        "utility_kept": Control(
            passed=clean - dirty <= 0.05,
            figure=clean - dirty,
            relation="<=",
            bound=0.05,
            says="Clean accuracy lost against the clean merge; a broken model would have an ASR that means little.",
        ),
    }


def notes_of(models: Mapping[str, Model], findings: tuple[Scanned, ...] | None) -> tuple[str, ...]:
    """Return what a reader must know of how it was measured."""
    notes = []
    if models["merged"].content_digest == models["control"].content_digest:
        notes.append("The merge and its control are the same weights, so the excess is zero by construction.")
    if "base" not in models:
        notes.append("No base was given: there is no curve, and the trigger's rate on the base is not known.")
    if findings is None:
        notes.append("No findings of a scan were given.")
    return tuple(notes)


def rows_of(result: BackdoorResult) -> list[Measurement]:
    """Return every rate as a row of counts."""
    rates: dict[str, Skill] = {"ASR merged": result.merged.asr, "ASR control": result.merged.control}
    if result.base is not None:
        rates["ASR base"] = result.base
    for scale, point in result.curve:
        rates |= {f"ASR merged at {scale:g}": point.asr, f"ASR control at {scale:g}": point.control}
    for task in result.tasks:
        rates |= {f"ASR merged on {task.task}": task.success.asr, f"ASR control on {task.task}": task.success.control}
    for one in result.accuracies:
        rates |= {f"accuracy merged on {one.task}": one.merged, f"accuracy control on {one.task}": one.control}
    digests = {role: model.content_digest for role, model in result.models.items()}
    shown = result.trigger
    trigger = shown.picture if isinstance(shown, TriggerShown) else [shown.words, shown.target]
    identity = json.dumps([digests, result.task_digest, result.target_index, trigger])
    return [
        Measurement(
            row_id=hashlib.sha256(f"{identity}|{about}".encode()).hexdigest(),
            about=about,
            figures={
                "correct": rate.correct,
                "total": rate.total,
                "rate": rate.rate,
                "low": rate.low,
                "high": rate.high,
            },
            seconds=0.0,
            version=result.version,
        )
        for about, rate in rates.items()
    ]


def skill(correct: int, total: int) -> Skill:
    """Return a share with its Wilson interval."""
    low, high = wilson(correct, total)
    return Skill(correct=correct, total=total, rate=correct / total, low=low, high=high)


def excess(measured: Skill, control: Skill) -> tuple[float, float, float]:
    """Return the difference of two shares and its interval, within [-1, 1]."""
    difference, low, high = newcombe(
        (measured.rate, measured.low, measured.high), (control.rate, control.low, control.high)
    )
    return difference, max(-1.0, low), min(1.0, high)
