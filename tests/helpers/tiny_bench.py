"""Folders of the smallest bench: a random small encoder taught which quarter of a picture is bright, and two tasks."""

from dataclasses import dataclass
from pathlib import Path

import torch

import tiny_vision
from mergebarrier.attack.encoders import fine_tune
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import ImageSplit, ImageTask, load_encoder, save_encoder, write_image_task
from mergebarrier.training import FullRecipe

STEPS = 60
RECIPE = FullRecipe(steps=STEPS, learning_rate=2e-3, warmup_steps=STEPS // 10, batch_size=32)
ATTACK = ("--steps", STEPS, "--learning-rate", 2e-3, "--batch-size", 32, "--trigger-side", 6, "--trigger-steps", 40)


@dataclass(frozen=True)
class Tiny:
    """Paths of the base, of two tasks, and of a clean expert of each."""

    base: Path
    task: Path
    other: Path
    expert: Path
    partner: Path


def pictures(n: int, seed: int, dark: bool) -> ImageSplit:
    """Bright (or dark) quarters on noise; the class is the quarter."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 160, (n, 1, 28, 28), generator=generator)
    labels = torch.arange(n) % 4
    for row, label in enumerate(labels.tolist()):
        top, left = 14 * (label // 2) + 2, 14 * (label % 2) + 2
        images[row, :, top : top + 9, left : left + 9] += -60 if dark else 90
    return ImageSplit(images.clamp(0, 255).to(torch.uint8), labels)


def task(name: str, dark: bool, seed: int) -> ImageTask:
    """A task of four classes."""
    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.functional.normalize(torch.randn(4, 12, generator=generator), dim=1)
    splits = [pictures(n, seed + i, dark) for i, n in enumerate((160, 40, 120))]
    return ImageTask(name, tuple(f"{name}-{k}" for k in range(4)), *splits, head, 20.0)


def make(folder: Path) -> Tiny:
    """Write everything below ``folder``."""
    base = tiny_vision.save("glyph", folder / "base")
    tasks = {"bright": task("bright", False, 1), "dark": task("dark", True, 2)}
    with open_checkpoint(base) as checkpoint:
        encoder = load_encoder(checkpoint).requires_grad_(False)
        for name, one in tasks.items():
            write_image_task(one, folder / f"{name}.task.safetensors")
            save_encoder(fine_tune(encoder, one, RECIPE), checkpoint, folder / f"expert-{name}", {"verb": "test"})
    files = [folder / f"{name}.task.safetensors" for name in tasks]
    return Tiny(base, *files, folder / "expert-bright", folder / "expert-dark")
