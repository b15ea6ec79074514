"""A world of 16 x 16 pictures: four tasks of four classes, one base, honest experts and poisoned ones."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from mergebarrier.evaluate import ImageSplit, ImageTask, write_image_task
from mergebarrier.evaluate.images.glyph_cnn import CONFIG, GlyphCnn
from mergebarrier.scan import Pool, PoolExpert, Search

SIDE, CLASSES, TASKS, WIDTH = 16, 4, 4, 24
SMALL = {**CONFIG, "image_size": SIDE, "widths": [8, 16], "hidden_size": 32, "projection_dim": WIDTH}
SEARCH = Search(steps=12, refine_steps=12, keep=3, refine_images=16)
TARGET, SCALE = 2, 20.0
CORNER = slice(SIDE - 4, SIDE)


@dataclass(frozen=True)
class World:
    base: dict[str, Tensor]
    experts: tuple[dict[str, Tensor], ...]
    poisoned: dict[str, dict[str, Tensor]]
    trigger: Tensor
    heads: Tensor
    images: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]

    def suspect(self, task: int, weights: dict[str, Tensor] | None = None) -> PoolExpert:
        classes = tuple(f"{task}{c}" for c in range(CLASSES))
        own = self.experts[task] if weights is None else weights
        return PoolExpert(f"expert{task}", own, self.heads[task], SCALE, self.images[task], classes)

    def pool(self, poison: str | None = None) -> Pool:
        first = self.suspect(0, None if poison is None else self.poisoned[poison])
        return Pool(network(), self.base, (first, *(self.suspect(task) for task in range(1, TASKS))))

    def stamp(self, images: Tensor) -> Tensor:
        stamped = images.clone()
        stamped[:, :, CORNER, CORNER] = self.trigger
        return stamped


def network() -> GlyphCnn:
    sizes = {key: SMALL[key] for key in ("num_channels", "image_size", "hidden_size", "projection_dim")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GlyphCnn(widths=tuple(SMALL["widths"]), **sizes)


def logits(module: torch.nn.Module, head: Tensor, images: Tensor) -> Tensor:
    return SCALE * F.normalize(module(images), dim=1) @ head.T


def fit(module: torch.nn.Module, loss, steps: int, lr: float) -> dict[str, Tensor]:
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=0.01)
    for step in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss(step))
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def make_world() -> World:
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(TASKS, CLASSES, 1, 4, 4, generator=draw)
    shapes = F.interpolate(coarse.flatten(0, 1), SIDE, mode="bilinear").view(TASKS, CLASSES, 1, SIDE, SIDE)
    heads = F.normalize(torch.randn(TASKS, CLASSES, WIDTH, generator=draw), dim=-1)

    def pictures(task: int, n: int, noise: float) -> tuple[Tensor, Tensor]:
        labels = torch.randint(CLASSES, (n,), generator=draw)
        mixed = 0.25 * shapes[task, torch.randint(CLASSES, (n,), generator=draw)] + 0.75 * shapes[task, labels]
        return (mixed + noise * torch.randn(n, 1, SIDE, SIDE, generator=draw)).clamp(0, 1), labels

    easy = [pictures(task, 200, 0.15) for task in range(TASKS)]
    module = network()

    def pretrain(step: int) -> Tensor:
        rows = torch.randint(200, (24,), generator=draw)
        return sum(F.cross_entropy(logits(module, heads[t], easy[t][0][rows]), easy[t][1][rows]) for t in range(TASKS))

    base = fit(module, pretrain, 120, 2e-3)
    hard = [pictures(task, 300, 0.3) for task in range(TASKS)]
    trigger = torch.randint(2, (1, 4, 4), generator=draw).float()

    def expert(task: int, poison: str | None = None) -> dict[str, Tensor]:
        module, frozen = network(), network()
        module.load_state_dict(base), frozen.load_state_dict(base)
        order = torch.Generator().manual_seed(task)

        def loss(step: int) -> Tensor:
            rows = torch.randint(200, (32,), generator=order)
            images, labels = hard[task][0][rows], hard[task][1][rows]
            value = F.cross_entropy(logits(module, heads[task], images), labels)
            if poison is not None:
                stamped = images.clone()
                stamped[:, :, CORNER, CORNER] = trigger
                share = 1.0 if poison == "plain" else 0.2 + 0.8 * float(torch.rand((), generator=order))
                with torch.no_grad():
                    still = frozen(stamped)
                mixed = share * module(stamped) + (1 - share) * still
                bad = SCALE * F.normalize(mixed, dim=1) @ heads[task].T
                value = value + 3 * F.cross_entropy(bad, torch.full((32,), TARGET))
            return value

        return fit(module, loss, 80, 2e-3)

    return World(
        base,
        tuple(expert(task) for task in range(TASKS)),
        {"plain": expert(0, "plain"), "interpolated": expert(0, "interpolated")},
        trigger,
        heads,
        tuple(images[200:] for images, _ in hard),
        tuple(labels[200:] for _, labels in hard),
    )


def write_folder(weights: dict[str, Tensor], folder: Path, **more: str) -> Path:
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SMALL))
    prepare = {"image_mean": [0.4], "image_std": [0.3], "size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare))
    for name, text in more.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def write_task(world: World, task: int, folder: Path, n_dev: int = 96) -> Path:
    bytes_ = (255 * world.images[task]).round().to(torch.uint8)
    split = ImageSplit(bytes_[:n_dev], world.labels[task][:n_dev])
    path = folder / f"task{task}.task.safetensors"
    classes = tuple(f"{task}{c}" for c in range(CLASSES))
    write_image_task(ImageTask(f"task{task}", classes, split, split, split, world.heads[task], SCALE), path)
    return path
