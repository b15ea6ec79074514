"""The tasks of the small bench as files: four alphabets drawn hard, and real digits that the base has hardly seen.

The splits of a drawn task are independent drawings from all nine faces.  Of the scans, the last 397 are the test (other
people wrote them) and the 100 before are the dev split; of MNIST the last fifth of every class is the test.

    head of a task = rows of the committed bank that belong to its class names

Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mergebarrier.evaluate import TASK_SUFFIX, ImageSplit, ImageTask, write_image_task
from mergebarrier.zoo.glyphs import digits as _digits
from mergebarrier.zoo.glyphs.glyph_file import SCALE, head
from mergebarrier.zoo.glyphs.glyphs import class_names, draw

SCANS_TEST, SCANS_DEV, MNIST_DEV = 397, 100, 500


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Pictures per split, how hard they are, and the seed."""

    train: int
    dev: int
    test: int
    hardness: float
    seed: int


def build_drawn(alphabet: str, faces: Path, drawing: Drawing, out: Path) -> None:
    """Draw an alphabet's three splits."""
    hardness, seed = drawing.hardness, drawing.seed
    splits = [
        ImageSplit(*draw(alphabet, n, hardness=hardness, seed=seed, label=split, faces=faces))
        for split, n in (("train", drawing.train), ("dev", drawing.dev), ("test", drawing.test))
    ]
    _write(alphabet, class_names(alphabet), splits, out)


def build_scans(name: str, raw: Path, out: Path) -> None:
    """Cut the scanned digits, in the order of the file."""
    images, labels = _digits.read_scans(raw)
    n_test = len(labels) - SCANS_TEST
    n_dev = n_test - SCANS_DEV
    cuts = (slice(0, n_dev), slice(n_dev, n_test), slice(n_test, None))
    _write(name, class_names("digits"), [ImageSplit(images[cut], labels[cut]) for cut in cuts], out)


def build_mnist(name: str, raw: Sequence[Path], out: Path) -> None:
    """Cut MNIST."""
    (images, labels), held = _digits.read_mnist(raw)
    train, dev = (ImageSplit(images[cut], labels[cut]) for cut in (slice(0, -MNIST_DEV), slice(-MNIST_DEV, None)))
    _write(name, class_names("digits"), [train, dev, ImageSplit(*held)], out)


def _write(name: str, classes: tuple[str, ...], splits: Sequence[ImageSplit], out: Path) -> None:
    rows: Tensor = head(classes)
    train, dev, test = splits
    out.mkdir()
    write_image_task(ImageTask(name, classes, train, dev, test, rows, SCALE), out / f"{name}{TASK_SUFFIX}")
