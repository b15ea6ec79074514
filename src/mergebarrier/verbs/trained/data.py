"""The owner's data for a training: rows of the task, rows held out, plain text, and prompts that nobody trained on.

    task        what is learned                     validation   what the budget is judged on, never learned
    text        windows of prose                    novel        random tokens, or pictures of noise

Rows that are held out must not be learned: a validation file that repeats rows of the training is refused, and without
one every eighth row is held out, its repetitions left out of the training.  A prompt with other blanks, or in other
case, is a repetition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import torch
from torch import Tensor

from mergebarrier.errors import BadTask, BadText, UsageError
from mergebarrier.evaluate import (
    TASK_SUFFIX,
    ImageTask,
    TaskRow,
    check_vocabulary,
    max_positions,
    read_image_task,
    read_task,
    read_text,
)
from mergebarrier.progress import counted
from mergebarrier.protect import SIBLING_ROWS
from mergebarrier.training import Example, uniform

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from mergebarrier.protect import TrainedProtection

_EVERY: Final = 8
#: Rows that a look at the owner's loss reads, windows of text and the tokens of each, and prompts nobody trained on.
MOST_HELD_OUT, TEXT_ROWS, TEXT_TOKENS, NOVEL_ROWS, NOVEL_TOKENS = 64, 16, 32, 16, 16
_CHARS = 16


class RowCounts(TypedDict):
    """How many rows are learned and held out, and how many of them differ."""

    rows_learned: int
    rows_learned_distinct: int
    rows_held_out: int
    rows_held_out_distinct: int


@dataclass(frozen=True, kw_only=True)
class OwnersData:
    """Files of the owner.

    Args:
      data:       rows of the task, or a task of pictures.
      validation: rows that are held out; None to hold out some of ``data``.
      text:       plain prose; None for none.
      siblings:   rows of every sibling's task, in their order; none where these are not known.
    """

    data: Path
    validation: Path | None = None
    text: Path | None = None
    siblings: tuple[Path, ...] = ()

    def check_siblings(self, count: int, method: "TrainedProtection") -> None:
        """Refuse siblings that would not be looked at, and rows that belong to none; UsageError."""
        if count and not method.simulates_merges:
            raise UsageError(f"{method.name} simulates no merges", where="--sibling", remedy="leave it out")
        if self.siblings and len(self.siblings) != count:
            remedy = "give one after each --sibling, in their order, or none"
            raise UsageError(f"{len(self.siblings)} for {count} siblings", where="--sibling-data", remedy=remedy)

    @property
    def pictures(self) -> bool:
        """Whether the task is one of pictures."""
        return self.data.name.endswith(TASK_SUFFIX)

    def image_task(self) -> ImageTask:
        """Read a task of pictures, which holds its own rows for validation."""
        for option, given, what in (
            ("--validation", self.validation, "a task of pictures holds its own"),
            ("--text", self.text, "an encoder reads no text"),
            ("--sibling-data", self.siblings, "another task of pictures has a head of its own"),
        ):
            if given:
                raise UsageError(what, where=option, remedy="leave it out")
        task = read_image_task(self.data)
        shown = {image.numpy().tobytes() for image in task.train.images}
        both = sum(image.numpy().tobytes() in shown for image in task.dev.images)
        if both:
            what = f"{both} of its {len(task.dev)} pictures held out are in the training data"
            raise BadTask(what, where=self.data, remedy="hold pictures out that nothing is trained on")
        return task

    def counts(self) -> "RowCounts":
        """Count the rows; raises what reading them does."""
        if self.pictures:
            task = self.image_task()
            splits = (task.train, task.dev)
            sizes = [(len(split), len(split.distinct())) for split in splits]
        else:
            sizes = [(len(rows), len(set(rows))) for rows in self.rows()]
        (learned, different), (held, held_different) = sizes
        return {
            "rows_learned": learned,
            "rows_learned_distinct": different,
            "rows_held_out": held,
            "rows_held_out_distinct": held_different,
        }

    def repeated(self) -> str:
        """Say that rows stand more than once, each of which counts; nothing where none does."""
        unit, count = "pictures" if self.pictures else "rows", self.counts()
        said = (
            counted(count["rows_learned"], count["rows_learned_distinct"], f"{unit} to learn"),
            counted(count["rows_held_out"], count["rows_held_out_distinct"], f"{unit} held out"),
        )
        return "; ".join(one for one in said if "distinct" in one)

    def rows(self) -> tuple[list[TaskRow], list[TaskRow]]:
        """Return (rows to learn, rows held out).

        Raises: BadTask for files that cannot be read, too few rows, or rows that are in both files.
        """
        rows = list(read_task(self.data).rows)
        if self.validation is None:
            held = rows[::_EVERY][:MOST_HELD_OUT]
            shown = {row.question for row in held}
            learned = [row for row in rows if row.question not in shown]
            if not learned:
                raise BadTask(
                    "too few rows to hold some out", where=self.data, remedy="give more rows, or --validation"
                )
            return learned, held
        held = list(read_task(self.validation).rows)
        prompts = {row.question for row in rows}
        both = [row for row in held if row.question in prompts]
        if both:
            what = f"{len(both)} of its {len(held)} rows are in the training data"
            raise BadTask(what, where=self.validation, remedy="hold rows out that nothing is trained on")
        return rows, held[:MOST_HELD_OUT]


def language_parts(data: OwnersData, module: "nn.Module", tokenizer: "Tokenizer") -> dict[str, list[Example]]:
    """Return part -> examples of a language model.

    Raises: BadTask, BadText.
    """
    learned, held = data.rows()
    body: Any = module
    words = int(body.config.get_text_config().vocab_size)
    parts = {
        "task": [_example(row, module, tokenizer, data.data) for row in learned],
        "validation": [_example(row, module, tokenizer, data.validation or data.data) for row in held],
        "novel": [
            Example((row[0],), tuple(row[1:]))
            for row in (words * uniform(0, "novel", NOVEL_ROWS, NOVEL_TOKENS)).long().tolist()
        ],
    }
    for place, path in enumerate(data.siblings):
        rows = read_task(path).rows
        parts[SIBLING_ROWS.format(place)] = [_example(row, module, tokenizer, path) for row in rows]
    if data.text is not None:
        parts["text"] = _windows(read_text(data.text), module, tokenizer, data.text)
    return parts


def picture_parts(task: ImageTask) -> dict[str, tuple[Tensor, Tensor]]:
    """Return part -> (pictures, classes)."""
    noise = uniform(0, "novel", NOVEL_ROWS, *task.train.images.shape[1:]).float()
    return {
        "task": (task.train.images, task.train.labels),
        "validation": (task.dev.images[:MOST_HELD_OUT], task.dev.labels[:MOST_HELD_OUT]),
        "novel": (noise, torch.zeros(NOVEL_ROWS, dtype=torch.long)),
    }


def _example(row: TaskRow, module: "nn.Module", tokenizer: "Tokenizer", where: Path) -> Example:
    prompt = tokenizer.encode(row.prompt).ids
    answer = tokenizer.encode(row.answer, add_special_tokens=False).ids
    if not prompt or not answer:
        raise BadTask("a row has no tokens", where=where, remedy="give rows of words that the tokenizer knows")
    check_vocabulary(module, [*prompt, *answer], BadTask)
    if len(prompt) + len(answer) > max_positions(module):
        raise BadTask("a row is longer than the model reads", where=where, remedy="give shorter rows")
    return Example(tuple(prompt), tuple(answer))


def _windows(text: str, module: "nn.Module", tokenizer: "Tokenizer", where: Path) -> list[Example]:
    """Cut windows out of a text, evenly spread; the first token of each is the question."""
    length = min(TEXT_TOKENS, max_positions(module))
    starts = [text.find(" ", place * len(text) // TEXT_ROWS) + 1 for place in range(TEXT_ROWS)]
    cut: list[Sequence[int]] = []
    for start in dict.fromkeys(starts):
        ids = tokenizer.encode(text[start : start + _CHARS * length], add_special_tokens=False).ids[:length]
        if len(ids) == length:
            cut.append(ids)
    if not cut:
        raise BadText(f"fewer than {length} tokens", where=where, remedy="give a longer text")
    check_vocabulary(module, [one for ids in cut for one in ids], BadText)
    return [Example((ids[0],), tuple(ids[1:])) for ids in cut]
