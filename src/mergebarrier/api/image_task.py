"""``image_task``: a task file from a reader's own pictures, with a head of a CLIP model or of class names."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from mergebarrier.api.base import Model, Report, beside, opened
from mergebarrier.errors import UsageError
from mergebarrier.evaluate import (
    TASK_SUFFIX,
    TEMPLATES,
    ImageSplit,
    ImageTask,
    load_encoder,
    names_head,
    read_image_folder,
    text_head,
    write_image_task,
)


@dataclass(frozen=True, kw_only=True)
class ImageTaskReport(Report):
    """A task file made from pictures: its classes, and how many pictures each split has.

    Attributes:
      out:     the file.
      classes: names of the sub-folders, in order.
      train, dev, test: pictures.
      made:    False where only a plan was asked for.
    """

    kind: ClassVar[str] = "task"

    out: Path
    classes: tuple[str, ...]
    train: int
    dev: int
    test: int
    made: bool = beside(True)


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """What classifies the pictures of a task: a model with a text tower, or vectors of class names.

    Attributes:
      model:     a CLIP model, as ``resolve`` reads it; its text tower makes the classification head.
      templates: sentences with {} for the class name; default those of CLIP.
      names:     instead of a model: a file of class-name vectors.
      side:      of the pictures in pixels; default that of the model.
      download:  fetch a model that the local cache lacks.
    """

    model: Model | None = None
    templates: Sequence[str] = ()
    names: str | os.PathLike[str] | None = None
    side: int | None = None
    download: bool = False


def image_task(
    pictures: str | os.PathLike[str],
    out: str | os.PathLike[str],
    head: HeadOptions,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
) -> ImageTaskReport:
    """Make a task file from a folder that holds one sub-folder of PNG or JPEG pictures per class.

    Args:
      pictures:  the folder.
      out:       NAME.task.safetensors.
      head:      what classifies the pictures.
      overwrite: replace a file that is there.
      dry_run:   read everything, write nothing.
    Raises: UsageError, BadTask, UnknownFamily, MissingExtra, OutputExists, CheckpointError.
    """
    place = Path(out)
    if not place.name.endswith(TASK_SUFFIX):
        what, remedy = f"{place.name} does not end in {TASK_SUFFIX}", f"name it NAME{TASK_SUFFIX}"
        raise UsageError(what, where="-o", remedy=remedy)
    classes, splits, vectors, scale = _read(pictures, head)
    train, dev, test = splits
    if not dry_run:
        task = ImageTask(place.name.removesuffix(TASK_SUFFIX), classes, train, dev, test, vectors, scale)
        write_image_task(task, place, overwrite=overwrite)
    return ImageTaskReport(out=place, classes=classes, train=len(train), dev=len(dev), test=len(test), made=not dry_run)


def _read(
    pictures: str | os.PathLike[str], head: HeadOptions
) -> tuple[tuple[str, ...], tuple[ImageSplit, ...], Tensor, float]:
    """Return classes, splits, and the head with its scale."""
    if head.model is not None and head.names is None:
        with opened(head.model, download=head.download) as (checkpoint,):
            classes, splits = read_image_folder(pictures, head.side or load_encoder(checkpoint).side)
            return classes, splits, *text_head(checkpoint, classes, tuple(head.templates) or TEMPLATES)
    if head.names is not None and head.model is None and head.side is not None:
        classes, splits = read_image_folder(pictures, head.side)
        return classes, splits, *names_head(Path(head.names), classes)
    raise UsageError("the task needs a head", where="zoo task", remedy="give --model, or --names with --side")
