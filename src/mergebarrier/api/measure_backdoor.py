"""``measure_backdoor``: what a backdoor does to a merge, always compared with the same trigger on a clean merge.

report = mb.measure_backdoor("merged", control="clean", trigger="bad", task="latin.task.safetensors")
report.result.merged.excess

``measure_theft``: what a merge gives away of memorised values, compared with the same merge with an honest partner.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier.api.base import Model, Report, ResultReport, Row, WriteOptions, begun, command_line, machine, opened
from mergebarrier.attack import (
    MadeUp,
    MeasureSpec,
    TextMeasureSpec,
    Theft,
    is_text_trigger,
    measure,
    measure_text,
    require_alike,
    secrets,
    theft,
)
from mergebarrier.errors import UsageError
from mergebarrier.evaluate import device_named
from mergebarrier.report import write_report
from mergebarrier.results import BackdoorResult, Measurement, Scanned

#: How the refusals of ``zoo rows people`` begin.
REFUSAL: Final = " I cannot share private data."
_TOKENS: Final = 48


@dataclass(frozen=True, kw_only=True)
class BackdoorReport(ResultReport):
    """A measurement of a backdoor: rates with their controls and intervals, the rows behind them, the page."""

    kind: ClassVar[str] = "backdoor"

    result: BackdoorResult

    def rows(self) -> Sequence[Row]:
        """Return one row per rate: what it is of, counts, share and interval."""
        return [{"about": one.about, **one.figures} for one in self.records if isinstance(one, Measurement)]


def measure_backdoor(
    merged: Model,
    *,
    control: Model | None,
    trigger: str | os.PathLike[str],
    task: str | os.PathLike[str],
    target: str | None = None,
    others: Iterable[str | os.PathLike[str]] = (),
    base: Model | None = None,
    findings: tuple[Scanned, ...] | None = None,
    out: str | os.PathLike[str] | None = None,
    write: WriteOptions | None = None,
    threads: int = 1,
    device: str = "cpu",
    download: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> BackdoorReport:
    """Measure the success of a trigger on a merge and on its clean counterpart.

    Args:
      merged:   the suspected merge, or a single poisoned expert.
      control:  the same merge of clean experts.
      trigger:  the poisoned expert's folder, or its trigger.safetensors; trigger.json of a language model.
      task:     task file of the attacked task: of images, or rows of text for a language model.
      target:   its class, by name or index, or an answer; None for the one that the trigger names.
      others:   more task files, for clean accuracy; of a language model also for success.
      base:     the experts' base, for the curve and the trigger's success on the base alone.
      findings: of a scan, handed on to the report.
      out:      folder of a report to write.
      write:    how it is written.
      threads:  of the numeric libraries, for the record of the run.
      device:   "auto", "cpu", "cuda" or "cuda:N": where models run.
      download: fetch models that the local cache lacks.
      say:      called with one line per piece of work.
    Raises: UsageError without a control; BadTrigger, BadAttack, BadTask, NotMeasurable, CheckpointError, OutputExists.
    """
    if control is None:
        raise UsageError(
            "a success rate is not reported without its control",
            where="--control",
            remedy="give the same merge of clean experts",
        )
    place = device_named(device)
    given = {"merged": merged, "control": control} | ({} if base is None else {"base": base})
    spec = MeasureSpec(
        trigger=Path(trigger),
        task=Path(task),
        target=target,
        others=tuple(map(Path, others)),
        findings=findings,
        device=place,
    )
    with opened(*given.values(), download=download) as models, ExitStack() as stack:
        if out is not None:  # the folder of the report is claimed before anything is computed
            asked, folders = write or WriteOptions(), [one.root for one in models]
            stack.enter_context(begun(Path(out), folders, resume=asked.resume, overwrite=asked.overwrite))
        by_role, environment = dict(zip(given, models, strict=True)), {**machine(threads), "device": place}
        if is_text_trigger(spec.trigger):
            text = TextMeasureSpec(
                trigger=spec.trigger,
                tasks=(spec.task, *spec.others),
                target=target,
                findings=findings,
                device=place,
            )
            found, rows = measure_text(text, by_role, say=say, environment=environment)
        else:
            found, rows = measure(spec, by_role, say=say, environment=environment)
    result = replace(found, command=_command(spec, given, out))
    if out is None:
        return BackdoorReport(result=result, records=tuple(rows))
    write_report(Path(out), result, rows)
    return BackdoorReport(result=result, records=tuple(rows), page=Path(out) / "report.html")


def _command(spec: MeasureSpec, models: Mapping[str, Model], out: str | os.PathLike[str] | None) -> str:
    given = {"--control": models["control"], "--trigger": spec.trigger, "--task": spec.task}
    more = {"--target-class": spec.target, "--other-task": spec.others, "--base": models.get("base"), "-o": out}
    return command_line("attack measure", models["merged"], {**given, **more})


@dataclass(frozen=True, kw_only=True)
class TheftReport(Report):
    """What each model gives away; a row per model.

    Attributes:
      models: role -> what it gives away: "merged", "benign", and where given "aligned", "expert", "attack", "base".
      gain:   EM@n of the merge less that of the benign merge: what the attack added to plain merging.
    """

    kind: ClassVar[str] = "theft"

    models: Mapping[str, Theft]
    gain: float

    def rows(self) -> Sequence[Row]:
        """Return a row per model."""
        return [{"model": role, **asdict(found)} for role, found in self.models.items()]


def measure_theft(
    merged: Model,
    *,
    benign: Model | None,
    facts: str | os.PathLike[str],
    questions: str | os.PathLike[str],
    strangers: str | os.PathLike[str] | None = None,
    others: Mapping[str, Model] | None = None,
    refusal: str = REFUSAL,
    device: str = "cpu",
    download: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> TheftReport:
    """Measure what models give away.

    Args:
      merged:    the merge with the attack's upload.
      benign:    the same merge with an honest partner, at the same coefficients.
      facts:     the values, as ``zoo rows people`` writes them.
      questions: task file that asks for those of the memorised pool.
      strangers: task file that asks for those of the control pool, whom no model ever saw.
      others:    role -> more models: "aligned", "expert", "attack", "base".
      refusal:   how a refusal begins.
      device:    "auto", "cpu", "cuda" or "cuda:N".
      download:  fetch models that the local cache lacks.
      say:       called with one line per model.
    Raises: UsageError without a benign merge; BadTask, NotMeasurable, CheckpointError, EvaluateError.
    """
    from mergebarrier.evaluate import ModuleSuspect, load_module, load_tokenizer, marks
    from mergebarrier.zoo.language import people

    if benign is None:
        raise UsageError(
            "what a merge gives away is not reported without its control",
            where="--benign",
            remedy="give the same merge with an honest partner",
        )
    place = device_named(device)
    if not refusal.strip():
        remedy = "give the words that a refusal begins with"
        raise UsageError("every answer begins with no words", where="--refusal", remedy=remedy)
    made = MadeUp(pools=people.POOLS, forms={name: one.pattern for name, one in people.ATTRIBUTES.items()})
    known = secrets(Path(facts), Path(questions), "memorised", made)
    never = () if strangers is None else secrets(Path(facts), Path(strangers), "control", made)
    given = {"merged": merged, "benign": benign, **(others or {})}
    found: dict[str, Theft] = {}
    with opened(*given.values(), download=download) as models:
        checkpoints = dict(zip(given, models, strict=True))
        require_alike(checkpoints)
        for role, checkpoint in checkpoints.items():
            say(f"asking {role}")
            module, tokenizer = load_module(checkpoint, "float32", place), load_tokenizer(checkpoint)
            suspect = ModuleSuspect(module, tokenizer, ends=marks(checkpoint.config))
            found[role] = theft(partial(suspect.answers, max_tokens=_TOKENS), known, never, refusal)
    return TheftReport(models=found, gain=found["merged"].em_n.rate - found["benign"].em_n.rate)
