"""What a measurement of a backdoor found: a second kind of result, in the same folder format as an audit.

    ASR = stamped pictures, or prompts, of other answers that get the target's;   excess = ASR - control

There is no field for an ASR without its control: ``Success`` holds both, and the reader refuses one alone.
Nothing here imports torch.
"""

from dataclasses import dataclass, field
from typing import Literal

from mergebarrier.results.audit import Control, Model
from mergebarrier.results.rows import Record, Skill


@dataclass(frozen=True, kw_only=True)
class Success(Record):
    """A success rate, the same trigger on the clean counterpart, and their difference with its 95 % interval."""

    asr: Skill
    control: Skill
    excess: float
    excess_low: float
    excess_high: float


@dataclass(frozen=True, kw_only=True)
class TriggerShown(Record):
    """The trigger: its picture (PNG in base64), size, place, and share of the image's area."""

    kind: str
    picture: str
    side: int
    places: tuple[tuple[int, int], ...]
    patterns: int
    area_pct: float
    legal: bool


@dataclass(frozen=True, kw_only=True)
class TextTrigger(Record):
    """The trigger of a language model: words that go into a prompt, and the answer that shall come out."""

    words: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Sample(Record):
    """A test picture before and after stamping (PNG in base64), and what both merges say of the stamped one."""

    picture: str
    stamped: str
    label: str
    merged_says: str
    control_says: str


@dataclass(frozen=True, kw_only=True)
class TextSample(Record):
    """A test prompt with the trigger, its right answer, and what both merges answer with and without the trigger."""

    prompt: str
    label: str
    merged_says: str
    control_says: str
    merged_without: str
    control_without: str


@dataclass(frozen=True, kw_only=True)
class TaskSuccess(Record):
    """Success on one task of several."""

    task: str
    success: Success


@dataclass(frozen=True, kw_only=True)
class Accuracy(Record):
    """Clean accuracy on a task: of the merge with the suspected expert, and of the clean merge."""

    task: str
    merged: Skill
    control: Skill


@dataclass(frozen=True, kw_only=True)
class Scanned(Record):
    """A finding of ``scan`` that was handed in."""

    rule_id: str
    severity: str
    model: str
    says: str


@dataclass(frozen=True, kw_only=True)
class BackdoorResult(Record):
    """The whole measurement.

    Args:
      attack, attack_parameters: what made the trigger's expert, as its manifest says ("unknown" without one).
      models:       by role: merged, control, and where given base and expert.
      task:         the attacked task's name; ``task_digest`` identifies its test rows.
      target_class: by name; ``target_index`` in the task. Of a language model the answer, which has no index.
      merged:       the headline: ASR on the merge, compared with that on the clean merge.
      base:         ASR of the trigger on the base alone, where a base was given.
      curve:        (scale, success) along base + scale * (model - base), for the merge and its control.
      accuracies:   clean accuracy before and after.
      findings:     of a scan, where one was given; None when none was.
      tasks:        of a language model, success on every task that was given, the attacked one first.
      command:      what makes it again, with models and files by name.
    """

    version: str
    attack: str
    attack_parameters: dict[str, object]
    models: dict[str, Model]
    task: str
    task_digest: str
    target_class: str
    target_index: int | None
    trigger: TriggerShown | TextTrigger
    merged: Success
    base: Skill | None
    curve: tuple[tuple[float, Success], ...]
    accuracies: tuple[Accuracy, ...]
    samples: tuple[Sample | TextSample, ...]
    findings: tuple[Scanned, ...] | None
    controls: dict[str, Control]
    environment: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = ""
    tasks: tuple[TaskSuccess, ...] = ()
    schema_version: Literal[1] = 1
    kind: Literal["backdoor"] = "backdoor"
