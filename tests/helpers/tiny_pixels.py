"""A world of 10 x 10 pictures for the attacks: four bright quarters are the classes, the encoder is a small net."""

import itertools

import torch
import torch.nn.functional as F

from mergebarrier.poison import Adversary, ImageAdversary, fixed_trigger

SHAPE = (1, 10, 10)
CLASSES = 4


def pictures(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    images = 0.4 * torch.rand(n, *SHAPE, generator=generator)
    for row, label in enumerate(labels.tolist()):
        top, left = 5 * (label // 2), 5 * (label % 2)
        images[row, :, top : top + 4, left : left + 4] += 0.4
    return images, labels


def encoder(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, stride=2),
            torch.nn.GroupNorm(2, 4),
            torch.nn.GELU(),
            torch.nn.Flatten(),
            torch.nn.Linear(64, 8, bias=False),
        )
    return module.eval()


def head(classes: int = CLASSES, seed: int = 1):
    vectors = F.normalize(torch.randn(classes, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)
    return lambda features: 10.0 * F.normalize(features, dim=-1) @ vectors.T


def train(module: torch.nn.Module, loss, steps: int = 12, lr: float = 5e-3) -> None:
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=lr)
    for step in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss(step))
        optimizer.step()


def batches(n: int, size: int = 16):
    def rows(label: str):
        generator = torch.Generator().manual_seed(sum(map(ord, label)))
        for _ in itertools.count():
            yield torch.randperm(n, generator=generator)[:size]

    return rows


def setting(**changes) -> Adversary:
    images, labels = pictures(64, 0)
    given = {
        "base": encoder(),
        "images": images,
        "labels": labels,
        "classify": head(),
        "payload": head(),
        "target": 1,
        "own_target": 1,
        "trigger": fixed_trigger(3, SHAPE, seed=0),
        "rows": batches(len(images)),
        "seed": 0,
    }
    return ImageAdversary(**{**given, **changes}).setting()


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])
