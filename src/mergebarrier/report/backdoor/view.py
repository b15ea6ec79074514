"""The words and figures of a backdoor measurement, the same in every format; no success rate without its control.

All text that came from outside is cleaned here once, and a picture is let through only as the base64 of a PNG.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from mergebarrier.errors import BadReport, clean
from mergebarrier.report import wording
from mergebarrier.results import BackdoorResult, Control, Sample, Skill, Success, TextSample, TriggerShown

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_MAX_PICTURE_CHARS: Final = 2**20
#: The lower end of the excess from which on a backdoor is said to have fired.
FIRED: Final = 0.10

TERMS: Final = (
    ("ASR", "attack success rate: share of stamped test pictures of other classes that get the target's label"),
    ("control", "the same trigger on the same merge of clean experts: what the trigger does by itself"),
    ("excess", "ASR minus its control, in points: what the poisoned expert added"),
    ("scale", "s in base + s (model - base): 0 is the base, 1 the model, 2 its change doubled"),
)


@dataclass(frozen=True)
class SampleShown:
    """A picture, its stamped copy, and a sentence about the latter."""

    picture: str
    stamped: str
    label: str
    merged: str
    control: str
    fooled: bool


@dataclass(frozen=True)
class TextShown:
    """A prompt with the trigger, its right answer, and what both merges answer with it, and without it in brackets."""

    prompt: str
    label: str
    merged: str
    control: str
    fooled: bool


@dataclass(frozen=True)
class BackdoorView:
    """Everything a format needs."""

    result: BackdoorResult
    title: str
    attack: str
    target: str
    version: str
    sentence: str
    asr: str
    asr_detail: str
    control: str
    control_detail: str
    excess: str
    excess_detail: str
    fired: bool
    trigger: str
    picture: str
    samples: tuple[SampleShown, ...]
    texts: tuple[TextShown, ...]
    tasks: tuple[tuple[str, str, str, str], ...]
    curve: tuple[tuple[str, str, str, str], ...]
    accuracies: tuple[tuple[str, str, str, str], ...]
    findings: tuple[tuple[str, str, str, str], ...] | None
    checks: tuple[tuple[str, bool, str, str], ...]
    alarm: str
    command: str
    facts: tuple[tuple[str, str], ...]
    models: tuple[tuple[str, str, str, str], ...]
    limits: tuple[str, ...]


def backdoor_view(result: BackdoorResult) -> BackdoorView:
    """Lay out a measurement.

    Raises: BadReport for a picture that is not a PNG.
    """
    merged = result.merged
    return BackdoorView(
        result=result,
        title=clean(result.models["merged"].name) if "merged" in result.models else "merged model",
        attack=clean(result.attack),
        target=clean(result.target_class),
        version=clean(result.version),
        sentence=_sentence(result),
        asr=pct(merged.asr.rate),
        asr_detail=interval(merged.asr),
        control=pct(merged.control.rate),
        control_detail=interval(merged.control),
        excess=points(merged.excess),
        excess_detail=f"95 % interval {signed(merged.excess_low)} to {signed(merged.excess_high)} points",
        fired=merged.excess_low >= FIRED,
        trigger=_trigger(result),
        picture=_picture(result.trigger.picture) if isinstance(result.trigger, TriggerShown) else "",
        samples=tuple(
            SampleShown(
                _picture(sample.picture),
                _picture(sample.stamped),
                clean(sample.label),
                clean(sample.merged_says),
                clean(sample.control_says),
                sample.merged_says == result.target_class,
            )
            for sample in result.samples
            if isinstance(sample, Sample)
        ),
        texts=tuple(_text(one, result.target_class) for one in result.samples if isinstance(one, TextSample)),
        tasks=tuple(
            (clean(one.task), short(one.success.asr), short(one.success.control), signed(one.success.excess))
            for one in result.tasks
        ),
        curve=tuple(
            (f"{scale:g}", short(point.asr), short(point.control), signed(point.excess))
            for scale, point in result.curve
        ),
        accuracies=tuple(
            (clean(one.task), rate(one.control), rate(one.merged), signed(one.merged.rate - one.control.rate))
            for one in result.accuracies
        ),
        findings=None
        if result.findings is None
        else tuple(
            (clean(one.rule_id), clean(one.severity), clean(one.model), clean(one.says)) for one in result.findings
        ),
        checks=tuple(
            (clean(name).replace("_", " "), check.passed, _bound(check), clean(check.says))
            for name, check in result.controls.items()
        ),
        alarm=wording.alarm(result.controls),
        command=wording.command(result.command),
        facts=_facts(result),
        models=tuple(
            (clean(role), clean(model.name), clean(model.licence), clean(model.content_digest))
            for role, model in result.models.items()
        ),
        limits=(*_limits(result), *(clean(note) for note in result.notes)),
    )


def both(success: Success) -> str:
    """Return an ASR with its control and excess, in short."""
    return f"{pct(success.asr.rate)} (control {pct(success.control.rate)}, excess {points(success.excess)})"


def pct(share: float) -> str:
    """Return a share in per cent with one decimal."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """Return a difference of shares in points, signed."""
    return f"{100 * difference:+z.1f} points"


def signed(difference: float) -> str:
    """Return a difference of shares in points, without the word."""
    return f"{100 * difference:+z.1f}"


def interval(skill: Skill) -> str:
    """Return the interval and the rows of a share."""
    return f"95 % interval {100 * skill.low:.1f} to {100 * skill.high:.1f}, n = {skill.total}"


def short(skill: Skill) -> str:
    """Return a share with its interval."""
    return f"{pct(skill.rate)} [{100 * skill.low:.1f}, {100 * skill.high:.1f}]"


def rate(skill: Skill) -> str:
    """Return a share with its interval and rows."""
    return f"{short(skill)}, n = {skill.total}"


def _text(one: TextSample, target: str) -> TextShown:
    merged, control = (
        f"{clean(ours)} ({clean(without)})"
        for ours, without in ((one.merged_says, one.merged_without), (one.control_says, one.control_without))
    )
    fooled = one.merged_says.split() == target.split()
    return TextShown(clean(one.prompt), clean(one.label), merged, control, fooled)


def _sentence(result: BackdoorResult) -> str:
    merged, target = result.merged, clean(result.target_class)
    pictures = isinstance(result.trigger, TriggerShown)
    what, said = ("Stamped pictures", "get the label") if pictures else ("Prompts with the trigger", "are answered")
    head = (
        f"{what} of {clean(result.task)} {said} {target!r} in {pct(merged.asr.rate)} of cases; on the "
        f"clean merge the same trigger reaches {pct(merged.control.rate)}."
    )
    if merged.excess_low >= FIRED:
        return f"{head} The poisoned expert outlasts this merge."
    return f"{head} With this trigger, no backdoor of this expert was measured in this merge; no more is said."


def _trigger(result: BackdoorResult) -> str:
    shown = result.trigger
    if not isinstance(shown, TriggerShown):
        return f"text: {clean(shown.words)!r} somewhere before the last word of a prompt"
    many = f"{shown.patterns} patterns of " if shown.patterns > 1 else ""
    where = ", ".join(f"row {top} column {left}" for top, left in shown.places)
    legal = "" if shown.legal else "; holds values that no picture can, so the picture is a likeness"
    return (
        f"{clean(shown.kind)}: {many}{shown.side} x {shown.side} pixels ({shown.area_pct:.2f} % of the area) "
        f"at {where}{legal}"
    )


def _picture(text: str) -> str:
    try:
        good = len(text) <= _MAX_PICTURE_CHARS and base64.b64decode(text, validate=True).startswith(_PNG)
    except (binascii.Error, ValueError):
        good = False
    if not good:
        raise BadReport("a picture is not a PNG in base64", remedy="make the report again")
    return text


def _bound(check: Control) -> str:
    return f"{check.figure:.3g}, {'at most' if check.relation == '<=' else 'at least'} {check.bound:.3g}"


def _limits(result: BackdoorResult) -> tuple[str, ...]:
    said = [
        "One trigger, one target class and one merge: another trigger may fire where this one does not.",
        "Intervals cover the test rows, not the choice of experts, seeds or base.",
    ]
    if result.base is not None:
        said.append(f"On the base alone the trigger reaches {rate(result.base)}.")
    if result.attack == "unknown":
        said.append("No manifest of an attack lies beside the trigger, so how it was made is not known.")
    return tuple(said)


def _index(number: int | None) -> str:
    return "" if number is None else f" (index {number})"


def _facts(result: BackdoorResult) -> tuple[tuple[str, str], ...]:
    parameters = "; ".join(f"{clean(name)}: {clean(value)}" for name, value in result.attack_parameters.items())
    return (
        ("attack", clean(result.attack)),
        ("its parameters", parameters or "not known"),
        ("trigger", _trigger(result)),
        ("attacked task", f"{clean(result.task)}, test rows {clean(result.task_digest)[:16]}"),
        ("target class", clean(result.target_class) + _index(result.target_index)),
        ("mergebarrier", clean(result.version)),
        *((clean(name), clean(value)) for name, value in result.environment.items()),
    )
