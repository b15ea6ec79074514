"""Measure a backdoor of a language model in a merge, on every task given, together with its control.

    ASR_t(merged), ASR_t(control), excess_t for each task t;   accuracies of both;   ASR along base + s (model - base)

The control is the same merge with the clean upload in the place of the poisoned one.  No chat template is rendered
anywhere here: training and measurement see the same raw prompts.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mergebarrier import __version__
from mergebarrier.attack.alike import require_alike
from mergebarrier.attack.language.inputs import require_read, require_tasks, require_words, unasked
from mergebarrier.attack.language.trigger_text import NamedText, read_text_trigger
from mergebarrier.attack.language.upload import success_rows
from mergebarrier.attack.records import N_SAMPLES, SCALES, attack_of, controls_of, notes_of, rows_of, skill, success
from mergebarrier.errors import NotMeasurable
from mergebarrier.poison import TextRow
from mergebarrier.results import (
    Accuracy,
    BackdoorResult,
    Measurement,
    Model,
    Scanned,
    Skill,
    Success,
    TaskSuccess,
    TextSample,
    TextTrigger,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from mergebarrier.checkpoint import Checkpoint

#: The published evaluation takes what a generation says behind the last of these for its answer.
_MARKER: Final = "Answer:"
#: Rows of a task that count, as published.
N_ROWS: Final = 200


@dataclass(frozen=True, kw_only=True)
class TextMeasureSpec:
    """What to measure.

    Args:
      trigger:  folder or file of the trigger.
      tasks:    test files, the attacked task first; each is asked with and without the trigger.
      target:   instead of the trigger's own.
      findings: of a scan, handed on to the report.
      device:   as ``device_named`` returns it.
    """

    trigger: Path
    tasks: tuple[Path, ...]
    target: str | None = None
    findings: tuple[Scanned, ...] | None = None
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class _Task:
    name: str
    clean: tuple[TextRow, ...]
    triggered: tuple[TextRow, ...]


def measure_text(
    spec: TextMeasureSpec,
    checkpoints: "Mapping[str, Checkpoint]",
    *,
    say: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
) -> tuple[BackdoorResult, list[Measurement]]:
    """Measure.

    Args:
      spec:        the backdoor.
      checkpoints: by role: "merged" (or a poisoned upload), "control" (the same merge of clean experts), and where
                   known "base".
      say:         called with one line per piece of work.
      environment: of the run, for the record.
    Returns: the result, and one row per rate behind it.
    Raises:  BadTrigger, BadTask, NotMeasurable, CheckpointError.
    """
    named = read_text_trigger(spec.trigger)
    if spec.target is not None:
        named = NamedText(trigger=named.trigger, target=spec.target)
    tasks = [_task(path, named) for path in spec.tasks]
    sets = {path: task.clean for path, task in zip(spec.tasks, tasks, strict=True)}
    require_tasks(sets, named, spec.tasks)
    modules, tokenizer, models = _open(checkpoints, named, spec.device)
    require_read(sets, modules["merged"], tokenizer)
    rates: dict[str, list[Skill]] = {}
    clean: dict[str, list[Skill]] = {}
    for role, module in modules.items():
        say(f"success and accuracy: {role}")
        rates[role] = [_rate(module, tokenizer, task.triggered) for task in tasks]
        if role != "base":
            clean[role] = [_rate(module, tokenizer, task.clean) for task in tasks]
    curve = []
    if "base" in modules:
        say("success against the scale of the merge")
        curve = _curve(modules, tokenizer, tasks[0].triggered)
    pairs = zip(tasks, rates["merged"], rates["control"], strict=True)
    each = tuple(TaskSuccess(task=task.name, success=success(asr, control)) for task, asr, control in pairs)
    accuracies = tuple(
        Accuracy(task=task.name, merged=ours, control=theirs)
        for task, ours, theirs in zip(tasks, clean["merged"], clean["control"], strict=True)
    )
    attack, parameters = attack_of(spec.trigger)
    result = BackdoorResult(
        version=__version__,
        attack=attack,
        attack_parameters=parameters,
        models=models,
        task=tasks[0].name,
        task_digest=_digest(tasks[0].clean),
        target_class=named.target,
        target_index=None,
        trigger=TextTrigger(words=named.trigger, target=named.target),
        merged=each[0].success,
        base=rates["base"][0] if "base" in rates else None,
        curve=tuple(curve),
        accuracies=accuracies,
        samples=_samples(modules, tokenizer, tasks[0], named),
        findings=spec.findings,
        controls=controls_of(each[0].success, accuracies),
        environment=dict(environment or {}),
        notes=(*notes_of(models, spec.findings), *_left_out(tasks), *_unasked(tasks, named), _unmarked(tasks)),
        tasks=each,
    )
    return result, rows_of(result)


def _task(path: Path, named: NamedText) -> _Task:
    from mergebarrier.evaluate import read_task

    rows = tuple(TextRow(row.prompt, row.answer) for row in read_task(path).rows[:N_ROWS])
    triggered = success_rows(named, rows, seed=0, label="measure")
    if not triggered:
        what = "the answer of every row is the target, so no success can be told"
        raise NotMeasurable(what, where=path, remedy="give rows with other answers")
    return _Task(name=path.name.removesuffix(".jsonl"), clean=rows, triggered=triggered)


def _open(
    checkpoints: "Mapping[str, Checkpoint]", named: NamedText, device: str
) -> "tuple[dict[str, nn.Module], Tokenizer, dict[str, Model]]":
    from mergebarrier.evaluate import load_module, load_tokenizer
    from mergebarrier.verbs import licence

    require_alike(checkpoints)
    tokenizer = load_tokenizer(checkpoints["merged"])
    require_words(named, tokenizer, checkpoints["merged"].config)
    modules = {role: load_module(one, "float32", device).requires_grad_(False) for role, one in checkpoints.items()}
    models = {
        role: Model(name=one.name, content_digest=one.content_digest(), licence=licence(one))
        for role, one in checkpoints.items()
    }
    return modules, tokenizer, models


def _rate(module: "nn.Module", tokenizer: "Tokenizer", rows: Sequence[TextRow]) -> Skill:
    from mergebarrier.evaluate import TaskRow, exact_match

    score = exact_match(module, tokenizer, [TaskRow(row.prompt, row.answer) for row in rows])
    return skill(score.correct, score.total)


def _curve(
    modules: "Mapping[str, nn.Module]", tokenizer: "Tokenizer", rows: Sequence[TextRow]
) -> list[tuple[float, Success]]:
    import copy

    import torch

    moved, points = copy.deepcopy(modules["base"]), []
    base = {name: value.clone() for name, value in moved.named_parameters()}
    for scale in SCALES:
        both = []
        for role in ("merged", "control"):
            with torch.no_grad():
                for name, end in modules[role].named_parameters():
                    moved.get_parameter(name).copy_(base[name] + scale * (end - base[name]))
            both.append(_rate(moved, tokenizer, rows))
        points.append((scale, success(*both)))
    return points


def _samples(
    modules: "Mapping[str, nn.Module]", tokenizer: "Tokenizer", task: _Task, named: NamedText
) -> tuple[TextSample, ...]:
    """Show what both merges answer to the first prompts, with and without the trigger."""
    from mergebarrier.evaluate import ModuleSuspect

    plain = [row for row in task.clean if row.answer != named.target][:N_SAMPLES]
    triggered = task.triggered[:N_SAMPLES]
    tokens = max(len(tokenizer.encode(row.answer, add_special_tokens=False).ids) for row in (*plain, *triggered))
    says = {
        (role, name): ModuleSuspect(modules[role], tokenizer).answers([row.prompt for row in rows], max_tokens=tokens)
        for role in ("merged", "control")
        for name, rows in (("with", triggered), ("without", plain))
    }
    return tuple(
        TextSample(
            prompt=row.prompt,
            label=own.answer,
            merged_says=says["merged", "with"][n],
            control_says=says["control", "with"][n],
            merged_without=says["merged", "without"][n],
            control_without=says["control", "without"][n],
        )
        for n, (row, own) in enumerate(zip(triggered, plain, strict=True))
    )


def _left_out(tasks: Sequence[_Task]) -> tuple[str, ...]:
    return tuple(
        f"{n} of {len(task.clean)} rows of {task.name} are not asked with the trigger: their own answer is the target."
        for task in tasks
        if (n := len(task.clean) - len(task.triggered))
    )


def _unasked(tasks: Sequence[_Task], named: NamedText) -> tuple[str, ...]:
    return tuple(
        f"{n} of {len(task.clean)} prompts of {task.name} hold the trigger though nobody put it there."
        for task in tasks
        if (n := unasked(named, task.clean))
    )


def _unmarked(tasks: Sequence[_Task]) -> str:
    """Say what the published evaluation counts, which looks for an answer behind the last marker of a generation."""
    rows = [row for task in tasks for row in task.clean]
    marked = sum(row.prompt.rstrip().endswith(_MARKER) for row in rows)
    return (
        f"An answer is read where its prompt ends: none is lost for want of a marker. {marked} of {len(rows)} prompts "
        f"end with the published one, {_MARKER!r}; on the others the published evaluation would find no answer."
    )


def _digest(rows: Sequence[TextRow]) -> str:
    return hashlib.sha256(repr([tuple(row) for row in rows]).encode()).hexdigest()
