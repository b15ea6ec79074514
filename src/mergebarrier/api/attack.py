"""``attack``: a poisoned expert as a red-team control, tagged as such, to measure merges and scans against.

mb.attack("badnets", "bad", base="base", task="latin.task.safetensors", target="B", rate=0.2)
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mergebarrier.api.base import Model, Report, WriteOptions, opened, shown
from mergebarrier.attack import (
    TAG,
    AttackOptions,
    PoisonSpec,
    TextSpec,
    make_poisoned,
    make_upload,
)
from mergebarrier.progress import Progress


@dataclass(frozen=True, kw_only=True)
class AttackPlan(Report):
    """What would be made: every input was checked, nothing was computed.

    Attributes:
      method:     key of ``poison.ATTACKS``.
      parameters: every hyper-parameter of attack, trigger and fine-tuning.
    """

    kind: ClassVar[str] = "plan"

    method: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class AttackReport(Report):
    """A poisoned expert; its document says "attack-artifact" as its manifest does.

    Attributes:
      out:             its folder.
      content_digest:  of its weights.
      method:          key of ``poison.ATTACKS``.
      parameters:      every hyper-parameter of attack, trigger and fine-tuning.
      trigger_on_base: {"hits", "rows"} of a universal trigger on the base, None for another one.
    """

    kind: ClassVar[str] = "attack"

    out: Path
    content_digest: str
    method: str
    parameters: Mapping[str, object]
    trigger_on_base: Mapping[str, object] | None

    def document(self) -> dict[str, object]:
        """Return the fields, tagged."""
        fields = super().document()
        first = {name: fields.pop(name) for name in ("out", "content_digest")}
        return {**first, TAG: True, **fields}


def attack(
    method: str,
    out: str | os.PathLike[str],
    *,
    base: Model,
    task: str | os.PathLike[str],
    target: str | None = None,
    options: AttackOptions | None = None,
    write: WriteOptions | None = None,
    download: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
    **parameters: object,
) -> AttackReport:
    """Make a poisoned expert and write its folder: like the base, plus the trigger.

    Args:
      method:     key of ``poison.ATTACKS``.
      out:        the folder.
      base:       the encoder that all experts are fine-tuned from, as ``resolve`` reads it.
      task:       the adversary's own image task file.
      target:     class that stamped pictures shall get, by name or index; None off-task.
      options:    how the trigger is made and the expert is fine-tuned.
      write:      how the folder is written.
      download:   fetch a base that the local cache lacks.
      say:        called with one line per piece of work.
      progress:   called with (steps done, steps in all) of the present piece.
      parameters: hyper-parameters of the attack, by name.
    Raises: BadAttack, BadTrigger, BadTask, UsageError, CheckpointError, EvaluateError; nothing is finalised then.
    """
    spec = _spec(method, task, target, options, parameters)
    with opened(base, download=download) as (encoder,), shown(progress, "poisoning") as step:
        into = (write or WriteOptions()).into_claimable(out, step, (encoder,))
        content = make_poisoned(spec, encoder, into, say=say)
    return AttackReport(
        out=Path(out),
        content_digest=content["output"]["content_digest"],
        method=content["method"],
        parameters=content["parameters"],
        trigger_on_base=content["trigger_on_base"],
    )


def plan_attack(
    method: str,
    *,
    base: Model,
    task: str | os.PathLike[str],
    target: str | None = None,
    options: AttackOptions | None = None,
    download: bool = False,
    **parameters: object,
) -> AttackPlan:
    """Check every input of an attack and return what it would make; arguments as those of ``attack``."""
    spec = _spec(method, task, target, options, parameters)
    with opened(base, download=download) as (encoder,):
        content = make_poisoned(spec, encoder, None)
    return AttackPlan(method=content["method"], parameters=content["parameters"])


def _spec(
    method: str,
    task: str | os.PathLike[str],
    target: str | None,
    options: AttackOptions | None,
    parameters: Mapping[str, object],
) -> PoisonSpec:
    return PoisonSpec(
        task=Path(task), method=method, target=target, parameters=parameters, options=options or AttackOptions()
    )


@dataclass(frozen=True, kw_only=True)
class HijackReport(Report):
    """An upload that attacks merges of language models, or a clean control.

    Attributes:
      out:            its folder.
      content_digest: of its weights.
      method:         key of ``poison.TEXT_ATTACKS``.
      parameters:     every hyper-parameter of attack and fine-tuning.
      found:          the gain that was used, and the success of each pseudo-merge where one was chosen.
    """

    kind: ClassVar[str] = "hijack"

    out: Path
    content_digest: str
    method: str
    parameters: Mapping[str, object]
    found: Mapping[str, object]

    def document(self) -> dict[str, object]:
        """Return the fields, tagged unless it is the clean control."""
        fields = super().document()
        first = {name: fields.pop(name) for name in ("out", "content_digest")}
        return {**first, TAG: self.method != "clean", **fields}


def attack_hijack(
    out: str | os.PathLike[str],
    *,
    base: Model,
    spec: TextSpec,
    write: WriteOptions | None = None,
    download: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> HijackReport:
    """Make an upload that attacks merges of language models, one of its controls, or a clean one.

    Args:
      out:      the folder.
      base:     the language model that all experts are fine-tuned from, as ``resolve`` reads it.
      spec:     tasks, trigger, target, method and how it is trained.
      write:    how the folder is written.
      download: fetch a base that the local cache lacks.
      say:      called with one line per piece of work.
      progress: called with (steps done, steps in all) of the present piece.
    Raises: BadAttack, BadTrigger, BadTask, UsageError, CheckpointError, EvaluateError; nothing is finalised then.
    """
    with opened(base, download=download) as (model,), shown(progress, "poisoning") as step:
        into = (write or WriteOptions()).into_claimable(out, step, (model,))
        content = make_upload(spec, model, into, say=say)
    return HijackReport(
        out=Path(out),
        content_digest=content["output"]["content_digest"],
        method=content["method"],
        parameters=content["parameters"],
        found=content["found"],
    )


def plan_hijack(*, base: Model, spec: TextSpec, download: bool = False) -> AttackPlan:
    """Check every input of ``attack_hijack`` and return what it would make."""
    with opened(base, download=download) as (model,):
        content = make_upload(spec, model, None)
    return AttackPlan(method=content["method"], parameters=content["parameters"])
