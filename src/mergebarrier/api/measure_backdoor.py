"""``measure_backdoor``: what a backdoor does to a merge, always compared with the same trigger on a clean merge.

report = mb.measure_backdoor("merged", control="clean", trigger="bad", task="latin.task.safetensors")
report.result.merged.excess
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from mergebarrier.api.base import Model, ResultReport, Row, WriteOptions, command_line, machine, opened
from mergebarrier.attack import MeasureSpec, TextMeasureSpec, is_text_trigger, measure, measure_text
from mergebarrier.errors import UsageError
from mergebarrier.report import Journal, write_report
from mergebarrier.results import BackdoorResult, Measurement, Scanned


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
    given = {"merged": merged, "control": control} | ({} if base is None else {"base": base})
    spec = MeasureSpec(
        trigger=Path(trigger), task=Path(task), target=target, others=tuple(map(Path, others)), findings=findings
    )
    with opened(*given.values(), download=download) as models:
        journal = None if out is None else _journal(Path(out), write or WriteOptions())
        by_role = dict(zip(given, models, strict=True))
        if is_text_trigger(spec.trigger):
            text = TextMeasureSpec(
                trigger=spec.trigger, tasks=(spec.task, *spec.others), target=target, findings=findings
            )
            found, rows = measure_text(text, by_role, say=say, environment=machine(threads))
        else:
            found, rows = measure(spec, by_role, say=say, environment=machine(threads))
    result = replace(found, command=_command(spec, given, out))
    if journal is None or out is None:
        return BackdoorReport(result=result, records=tuple(rows))
    write_report(Path(out), result, rows)
    return BackdoorReport(result=result, records=tuple(rows), page=Path(out) / "report.html")


def _journal(out: Path, write: WriteOptions) -> Journal:
    """Claim the folder of the report before anything is computed."""
    return Journal.open(out, resume=write.resume, overwrite=write.overwrite)


def _command(spec: MeasureSpec, models: Mapping[str, Model], out: str | os.PathLike[str] | None) -> str:
    given = {"--control": models["control"], "--trigger": spec.trigger, "--task": spec.task}
    more = {"--target-class": spec.target, "--other-task": spec.others, "--base": models.get("base"), "-o": out}
    return command_line("attack measure", models["merged"], {**given, **more})
