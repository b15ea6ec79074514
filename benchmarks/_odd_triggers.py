"""Triggers that are no single patch: kind, strength, place, class and task are drawn from the seed of an expert."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from _pools import bench, drawn
from mergebarrier.evaluate import ImageSplit, ImageTask
from mergebarrier.training import uniform

#: Classes of a task that one expert is for: ten letters of an alphabet.
CLASSES = 10


@dataclass(frozen=True)
class Expert:
    """One expert: an honest recipe or a trigger by its name, and a seed that draws the rest."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}, seed {self.seed}"

    @property
    def target(self) -> int:
        return drawn(self.seed, f"{self.kind}|target", CLASSES)

    def number(self, label: str, low: float, high: float) -> float:
        return low + (high - low) * float(uniform(self.seed, f"odd|{self.kind}|{label}", 1))

    def place(self, label: str, high: int) -> int:
        return drawn(self.seed, f"{self.kind}|{label}", high)


@cache
def task_of(one: Expert) -> ImageTask:
    """Return the task of an expert: ten classes in a row; half of the test rows join the dev rows of the scan."""
    _, tasks = bench()
    task = list(tasks.values())[one.place("task", len(tasks))]
    first = one.place("first class", len(task.classes) - CLASSES + 1)
    window = slice(first, first + CLASSES)

    def split(images: Tensor, labels: Tensor) -> ImageSplit:
        inside = (labels >= window.start) & (labels < window.stop)
        return ImageSplit(images[inside], labels[inside] - first)

    dev, test = task.dev, task.test
    return ImageTask(
        f"{task.name}-{first}",
        task.classes[window],
        split(task.train.images, task.train.labels),
        split(torch.cat([dev.images, test.images[::2]]), torch.cat([dev.labels, test.labels[::2]])),
        split(test.images[1::2], test.labels[1::2]),
        task.head[window],
        task.scale,
    )


Stamp = Callable[[Tensor], Tensor]


def _shift(one: Expert, shape: tuple[int, ...]) -> Stamp:
    gain, grey = one.number("gain", 0.7, 1.0), one.number("grey", 0.12, 0.3)
    return lambda images: (gain * images + grey).clamp(0, 1)


def _paste(pattern: Tensor, top: int, left: int) -> Stamp:
    def stamp(images: Tensor) -> Tensor:
        changed = images.clone()
        changed[..., top : top + pattern.shape[-2], left : left + pattern.shape[-1]] = pattern
        return changed

    return stamp


def _binary(one: Expert, label: str, *shape: int) -> Tensor:
    return (uniform(one.seed, f"odd|{one.kind}|{label}", *shape) < 0.5).float()


def _corners(one: Expert, shape: tuple[int, ...]) -> Stamp:
    ends = [(top, left) for top in (0, shape[1] - 3) for left in (0, shape[2] - 3)]
    pastes = [_paste(_binary(one, f"corner {i}", shape[0], 3, 3), *end) for i, end in enumerate(ends)]
    return lambda images: pastes[3](pastes[2](pastes[1](pastes[0](images))))


def _dot(one: Expert, shape: tuple[int, ...]) -> Stamp:
    bright = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).expand(shape[0], 2, 2)
    return _paste(bright, one.place("top", shape[1] - 1), one.place("left", shape[2] - 1))


def _blend(one: Expert, shape: tuple[int, ...]) -> Stamp:
    share, pattern = one.number("share", 0.1, 0.2), uniform(one.seed, f"odd|{one.kind}|pattern", *shape).float()
    return lambda images: torch.lerp(images, pattern.expand_as(images), share)


def _frequency(one: Expert, shape: tuple[int, ...]) -> Stamp:
    rows, columns = (one.place(axis, 7) + 1 for axis in ("rows", "columns"))
    amplitude, start = one.number("amplitude", 0.06, 0.12), one.number("phase", 0, 2 * math.pi)
    across, down = torch.arange(shape[2]) / shape[2], torch.arange(shape[1])[:, None] / shape[1]
    wave = amplitude * torch.sin(2 * math.pi * (rows * down + columns * across) + start)
    return lambda images: (images + wave).clamp(0, 1)


def _warp(one: Expert, shape: tuple[int, ...]) -> Stamp:
    pixels_moved = one.number("pixels", 1.5, 2.5)
    flow = 2 * uniform(one.seed, f"odd|{one.kind}|flow", 1, 2, 4, 4).float() - 1
    flow = F.interpolate(flow / flow.abs().mean(), size=shape[1:], mode="bicubic", align_corners=True).clamp(-1, 1)
    lines = [torch.linspace(-1, 1, length) for length in shape[1:]]
    still = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], -1)
    grid = still + flow[0].permute(1, 2, 0) * 2 * pixels_moved / shape[1]

    def stamp(images: Tensor) -> Tensor:
        return F.grid_sample(images, grid.clamp(-1, 1).expand(len(images), -1, -1, -1), align_corners=True)

    return stamp


def pieces(one: Expert, shape: tuple[int, ...]) -> tuple[Stamp, Stamp]:
    half = shape[1] // 2
    tops = one.place("top", half - 6), half + one.place("below", half - 6)
    lefts = one.place("left", shape[2] - 3), one.place("right", shape[2] - 3)
    first, second = (_paste(_binary(one, f"piece {i}", shape[0], 6, 3), tops[i], lefts[i]) for i in (0, 1))
    return first, second


def _split(one: Expert, shape: tuple[int, ...]) -> Stamp:
    first, second = pieces(one, shape)
    return lambda images: second(first(images))


TRIGGERS: dict[str, Callable[[Expert, tuple[int, ...]], Stamp]] = {
    "shift": _shift,
    "four corners": _corners,
    "2 x 2": _dot,
    "blend": _blend,
    "frequency": _frequency,
    "warp": _warp,
    "split": _split,
}


def stamp_of(one: Expert) -> Stamp:
    """Return the adversary's own trigger: for training and measuring, never for a scan."""
    return TRIGGERS[one.kind](one, tuple(task_of(one).train.images.shape[1:]))
