"""An image task in one file: pictures of three splits, the names of the classes, and the frozen head that reads them.

The head belongs to the task and not to the model, as in zero-shot classification: one unit vector per class name, never
merged and never trained, so that any encoder of the same base can be scored on any task.

    NAME.task.safetensors:  {train,dev,test}.{images,labels}, head;   metadata: {"name", "classes", "scale"}

Source: the frozen text heads of the task-arithmetic experiments (arXiv 2212.04089).  Differs: one file, read strictly.
"""

import os
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.checkpoint import read_tensor_file, write_tensor_file
from mergebarrier.errors import BadTask, CheckpointError, clean

TASK_SUFFIX = ".task.safetensors"
SPLITS = ("train", "dev", "test")
MAX_CLASSES = 100_000
MAX_SIDE = 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")
_KEYS = {"name", "classes", "scale"}


@dataclass(frozen=True)
class ImageSplit:
    """Pictures, UInt8[Tensor, "n channels height width"], with the indices of their classes, Int64[Tensor, "n"]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.labels)

    def distinct(self) -> "ImageSplit":
        """Return every picture once: one that stands ten times is no ten pictures, and would make intervals narrow."""
        first: dict[bytes, int] = {}
        for place, image in enumerate(self.images):
            first.setdefault(image.numpy().tobytes(), place)
        kept = torch.tensor(list(first.values()), dtype=torch.int64)
        return ImageSplit(self.images[kept], self.labels[kept])

    def without(self, images: Tensor) -> "ImageSplit":
        """Return the pictures that are none of these: what was learned by heart is no measure of what is known."""
        seen = {image.numpy().tobytes() for image in images}
        kept = torch.tensor([image.numpy().tobytes() not in seen for image in self.images], dtype=torch.bool)
        return ImageSplit(self.images[kept], self.labels[kept])


@dataclass(frozen=True)
class ImageTask:
    """A classification task of a frozen head.

    Attributes:
      name:             letters, digits, dots, dashes and underscores.
      classes:          distinct names, at least two; a label is an index into them.
      train, dev, test: what experts learn, what a merger may look at, what figures are measured on.
      head:             Float32[Tensor, "classes features"], rows of length one.
      scale:            logits = scale * cosine of feature and row.
    Raises: BadTask naming what disagrees.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSplit
    dev: ImageSplit
    test: ImageSplit
    head: Tensor
    scale: float

    def __post_init__(self) -> None:
        """Check everything that a file could get wrong."""
        fault = _fault(self)
        if fault:
            raise BadTask(fault, where=f"task {clean(self.name)}", remedy="make the task again")

    def splits(self) -> dict[str, ImageSplit]:
        """Return name -> split."""
        return {"train": self.train, "dev": self.dev, "test": self.test}


def read_image_task(path: str | os.PathLike[str]) -> ImageTask:
    """Read a task file.

    Args:
      path: a file that ``write_image_task`` wrote, or one like it; at most 1 GiB.
    Returns: ImageTask.
    Raises:  BadTask, naming the file and the fault.
    """
    remedy = "a task file holds {train,dev,test}.{images,labels} and head, with name, classes and scale as metadata"
    try:
        tensors, about = read_tensor_file(path)
        wanted = [f"{split}.{part}" for split in SPLITS for part in ("images", "labels")] + ["head"]
        if sorted(tensors) != sorted(wanted):
            odd = sorted(tensors.keys() ^ dict.fromkeys(wanted).keys())[0]
            raise BadTask(f"{clean(odd)!r} is missing or unexpected", where=path, remedy=remedy)
        if about.keys() != _KEYS:
            raise BadTask(f"its metadata is not exactly {', '.join(sorted(_KEYS))}", where=path, remedy=remedy)
        train, dev, test = (ImageSplit(tensors[f"{split}.images"], tensors[f"{split}.labels"]) for split in SPLITS)
        classes = about["classes"]
        if not isinstance(classes, list) or type(about["scale"]) not in (int, float):
            raise BadTask("classes is not a list, or scale is not a number", where=path, remedy=remedy)
        return ImageTask(about["name"], tuple(classes), train, dev, test, tensors["head"], float(about["scale"]))
    except BadTask as fault:
        raise BadTask(fault.what, where=path, remedy=fault.remedy) from fault
    except CheckpointError as fault:
        raise BadTask(f"not a task file: {fault.what}", where=path, remedy=remedy) from fault


def write_image_task(task: ImageTask, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a task to a new file, or over one that exists if ``overwrite``; the same task gives the same bytes."""
    tensors: dict[str, Tensor] = {"head": task.head}
    for name, split in task.splits().items():
        tensors |= {f"{name}.images": split.images, f"{name}.labels": split.labels}
    about = {"name": task.name, "classes": list(task.classes), "scale": task.scale}
    write_tensor_file(path, tensors, about, overwrite=overwrite)


def _fault(task: ImageTask) -> str:
    """Return what is wrong with a task, "" when nothing is."""
    name: object = task.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "its name is not 1 to 100 letters, digits, dots, dashes and underscores"
    texts = [text for text in task.classes if isinstance(text, str) and 0 < len(text) <= 200]
    if not 2 <= len(task.classes) <= MAX_CLASSES or len(dict.fromkeys(texts)) != len(task.classes):
        return f"{len(task.classes)} classes; there are 2 or more, of distinct names of 1 to 200 characters"
    if task.head.dtype != torch.float32 or task.head.dim() != 2 or len(task.head) != len(task.classes):
        return f"the head is {task.head.dtype} {tuple(task.head.shape)}; it has a float32 row for each of the classes"
    if not bool(torch.isfinite(task.head).all()) or float((task.head.norm(dim=1) - 1).abs().max()) > 1e-3:
        return "the rows of the head are not of length one"
    if not 0 < task.scale < 1e6:
        return f"scale is {task.scale}; it is positive"
    shape = task.train.images.shape[1:]
    for part, split in task.splits().items():
        images, labels = split.images, split.labels
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] not in (1, 3):
            return f"{part}.images is {images.dtype} {tuple(images.shape)}; it is uint8, n x (1 or 3) x height x width"
        if images.shape[1:] != shape or not all(1 <= side <= MAX_SIDE for side in shape[1:]):
            return (
                f"{part}.images are {tuple(images.shape[1:])}, train.images {tuple(shape)}; sides are 1 to {MAX_SIDE}"
            )
        if labels.dtype != torch.int64 or labels.dim() != 1 or len(labels) != len(images) or not len(labels):
            return f"{part}.labels is {labels.dtype} {tuple(labels.shape)}; it is one int64 per picture, at least one"
        low, high = (int(value) for value in torch.aminmax(labels))
        if low < 0 or high >= len(task.classes):
            return f"{part}.labels are {low} to {high}; there are {len(task.classes)} classes"
    return ""
