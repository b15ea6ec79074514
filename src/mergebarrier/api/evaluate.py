"""``evaluate``: what a model can do, as figures with intervals: tasks of text or of images, and perplexity.

A model of language reads JSON lines of prompt and answer, and plain text; a model of images reads
``NAME.task.safetensors``, pictures with a frozen head.  One call scores one of the two kinds.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from mergebarrier.api.base import Model, Report, Row, as_given, opened, shown
from mergebarrier.errors import UsageError
from mergebarrier.evaluate import (
    TASK_SUFFIX,
    ImageSplit,
    Perplexity,
    Score,
    accuracy,
    compute_dtype,
    device_named,
    exact_match,
    load_encoder,
    load_module,
    load_tokenizer,
    perplexity,
    read_image_task,
    read_task,
    read_text,
)
from mergebarrier.progress import Progress

Place = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """One task and the score on it.

    Attributes:
      task:   the file.
      about:  what identifies its content: the digest of a task of text and how many of its rows differ, name and
              number of classes of one of images.
      figure: "exact match" or "accuracy".
      score:  the score.
    """

    task: str
    about: Row
    figure: str
    score: Score


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """A plain text and the perplexity on it."""

    file: str
    perplexity: Perplexity


@dataclass(frozen=True, kw_only=True)
class EvaluationReport(Report):
    """What a model scored; a row per task.

    Attributes:
      model: as the caller named it.
      dtype: of the arithmetic.
      device: where the model ran.
      tasks: in the order given.
      text:  perplexity, where a text was given.
    """

    kind: ClassVar[str] = "evaluation"

    model: str
    dtype: str
    tasks: tuple[TaskScore, ...]
    text: TextScore | None
    device: str = "cpu"

    def document(self) -> dict[str, object]:
        """Return the document, each score flat with the name of its file."""
        tasks = [{"task": item.task, **item.about, **asdict(item.score)} for item in self.tasks]
        text = None if self.text is None else {"file": self.text.file, **asdict(self.text.perplexity)}
        return {"model": self.model, "dtype": self.dtype, "device": self.device, "tasks": tasks, "text": text}

    def rows(self) -> Sequence[Row]:
        """Return a row per task."""
        return [
            {"model": self.model, "task": item.task, "figure": item.figure, **asdict(item.score)} for item in self.tasks
        ]


def evaluate(
    model: Model,
    *,
    tasks: Sequence[Place] = (),
    text: Place | None = None,
    dtype: str = "auto",
    device: str = "cpu",
    batch_tokens: int | None = None,
    max_items: int | None = None,
    max_tokens: int = 4096,
    download: bool = False,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Score a model on tasks and on plain text.

    Args:
      model:      as ``resolve`` reads it.
      tasks:      files, all of text or all of images.
      text:       a plain UTF-8 file to measure perplexity on.
      dtype:      of the arithmetic of a language model, or "auto"; images are scored in float32.
      device:     "auto", "cpu", "cuda" or "cuda:N".
      batch_tokens: tokens that go through the model at once, None for 32 rows.
      max_items:  rows or pictures per task, None for all.
      max_tokens: read of the text.
      download:   fetch a model that the local cache lacks.
      progress:   called with (steps done, steps).
    Raises: UsageError for nothing to measure, or for text and images in one call; CheckpointError, ArchError, BadTask,
            BadText, MissingExtra, NoDevice.
    """
    if not tasks and text is None:
        raise UsageError("nothing to measure", where="evaluate", remedy="give --task FILE or --text FILE")
    of_images = [os.fspath(path).endswith(TASK_SUFFIX) for path in tasks]
    place = device_named(device)
    with shown(progress, "evaluating") as step:
        if not any(of_images):
            kind = compute_dtype(dtype, "cpu" if place == "cpu" else "cuda")
            asked = _OfLanguage(kind, place, batch_tokens, max_items, max_tokens, text)
            return _of_language(model, tasks, asked, download, step)
        if not all(of_images) or text is not None:
            raise UsageError(
                "image tasks and text were mixed", where="--task", remedy="score images and text in two runs"
            )
        return _of_images(model, tasks, place, max_items, download, step)


@dataclass(frozen=True)
class _OfLanguage:
    """What only a model of language is asked, and how."""

    dtype: str
    device: str
    batch_tokens: int | None
    max_items: int | None
    max_tokens: int
    text: Place | None


def _of_language(
    model: Model, paths: Sequence[Place], asked: _OfLanguage, download: bool, progress: Progress
) -> EvaluationReport:
    # Everything that can be refused is read before the model is.
    files = [(os.fspath(path), read_task(path)) for path in paths]
    text = None if asked.text is None else (os.fspath(asked.text), read_text(asked.text))
    steps = 1 + len(files) + (text is not None)
    scores = []
    measured = None
    with opened(model, download=download) as (checkpoint,):
        tokenizer = load_tokenizer(checkpoint)
        module = load_module(checkpoint, asked.dtype, asked.device)
        progress(1, steps)
        for done, (path, task) in enumerate(files, 2):
            score = exact_match(
                module, tokenizer, task.rows, batch_tokens=asked.batch_tokens, max_items=asked.max_items
            )
            about = {"sha256": task.digest, "distinct": task.distinct(asked.max_items)}
            scores.append(TaskScore(task=path, about=about, figure="exact match", score=score))
            progress(done, steps)
        if text is not None:
            found = perplexity(module, tokenizer, text[1], asked.max_tokens)
            measured = TextScore(file=text[0], perplexity=found)
            progress(steps, steps)
    return EvaluationReport(
        model=as_given(model), dtype=asked.dtype, tasks=tuple(scores), text=measured, device=asked.device
    )


def _of_images(
    model: Model, paths: Sequence[Place], device: str, max_items: int | None, download: bool, progress: Progress
) -> EvaluationReport:
    tasks = [(os.fspath(path), read_image_task(path)) for path in paths]
    scores = []
    with opened(model, download=download) as (checkpoint,):
        encoder = load_encoder(checkpoint, device)
        for done, (path, task) in enumerate(tasks, 1):
            seen = ImageSplit(task.test.images[:max_items], task.test.labels[:max_items])
            score = accuracy(encoder, task.head, task.scale, seen)
            about = {"name": task.name, "classes": len(task.classes)}
            scores.append(TaskScore(task=path, about=about, figure="accuracy", score=score))
            progress(done, len(tasks))
    return EvaluationReport(model=as_given(model), dtype="float32", tasks=tuple(scores), text=None, device=device)
