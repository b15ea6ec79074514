"""Experts of the small vision bench, honest and poisoned, made once and kept for the studies of scan and of cures."""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from _adaptive import Adaptive
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import ImageTask, image_logits, load_encoder, pixels, read_image_task
from mergebarrier.merge import make
from mergebarrier.poison import (
    ATTACKS,
    CORNERS,
    ImageAdversary,
    Trigger,
    UniversalRecipe,
    fixed_trigger,
    universal_trigger,
)
from mergebarrier.scan import MergeWeights, Pool, PoolExpert
from mergebarrier.training import FullRecipe, batches, train_full, uniform
from mergebarrier.verbs import merge_weights
from mergebarrier.zoo import vision_bench

KEPT = Path(tempfile.gettempdir()) / "mergebarrier-bench-scan"
RECIPE = FullRecipe(steps=150, learning_rate=5e-4, weight_decay=0.1, warmup_steps=15, batch_size=64)
TRIGGER = UniversalRecipe(steps=150, batch_size=48, restarts=1)
#: Half of a batch is stamped, as published.
ROWS = 32
COEFFICIENT = 0.3


@cache
def bench() -> tuple[torch.nn.Module, dict[str, ImageTask]]:
    """Return the frozen base and the tasks."""
    torch.set_num_threads(1)
    found = vision_bench("small")
    with open_checkpoint(found.base) as checkpoint:
        encoder = load_encoder(checkpoint)
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    return encoder, {name: read_image_task(path) for name, path in found.tasks.items()}


@dataclasses.dataclass(frozen=True)
class Upload:
    """One expert by its recipe: task, seed and, for a poisoned one, attack, target class, side and corner."""

    task: str
    seed: int
    attack: str = "honest"
    target: int = 1
    side: int = 7
    place: str = "bottom-right"

    @property
    def name(self) -> str:
        return "-".join(str(value) for value in dataclasses.astuple(self))


def drawn(seed: int, label: str, n: int) -> int:
    """Return a keyed whole number below n."""
    return int(float(uniform(seed, f"bench-scan|{label}", 1)) * n)


def poisoned(attack: str, seed: int) -> Upload:
    """Draw task, class, side and corner from the seed."""
    _, tasks = bench()
    task = list(tasks)[drawn(seed, f"{attack}|task", len(tasks))]
    target = drawn(seed, f"{attack}|target", len(tasks[task].classes))
    side = (5, 7)[drawn(seed, f"{attack}|side", 2)]
    return Upload(task, seed, attack, target, side, CORNERS[drawn(seed, f"{attack}|place", len(CORNERS))])


def weights(upload: Upload) -> dict[str, Tensor]:
    """Return the weights, training them the first time."""
    path = KEPT / f"{upload.name}.safetensors"
    if not path.exists():
        made, pattern = _make(upload)
        tensors = {name: tensor.detach().contiguous() for name, tensor in made.named_parameters()}
        if pattern is not None:
            tensors["trigger"] = pattern
        KEPT.mkdir(exist_ok=True)
        save_file(tensors, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    return {name: tensor for name, tensor in load_file(path).items() if name != "trigger"}


def trigger(upload: Upload) -> Trigger:
    """Return the adversary's trigger: for measuring, never for a scan or a cure."""
    weights(upload)
    _, tasks = bench()
    shape = tuple(tasks[upload.task].train.images.shape[1:])
    pattern = load_file(KEPT / f"{upload.name}.safetensors")["trigger"]
    return Trigger(pattern[None], fixed_trigger(upload.side, shape, seed=0, place=upload.place).places, shape)


def _make(upload: Upload) -> tuple[torch.nn.Module, Tensor | None]:
    base, tasks = bench()
    task = tasks[upload.task]
    images, labels = pixels(task.train.images), task.train.labels

    def classify(features: Tensor) -> Tensor:
        return image_logits(features, task.head, task.scale)

    def rows(label: str):
        return batches(len(labels), RECIPE.batch_size, seed=upload.seed, label=label)

    def train(module: torch.nn.Module, loss: Callable[[int], Tensor]) -> None:
        train_full(module, RECIPE, loss)

    shape = tuple(images.shape[1:])
    stamp, attack = fixed_trigger(upload.side, shape, seed=upload.seed, place=upload.place), ATTACKS["badmerging"]
    if upload.attack in ("badmerging", "universal", "adaptive"):
        held_out = (pixels(task.dev.images)[:128], task.dev.labels[:128])
        stamp = universal_trigger(
            lambda x: classify(base(x)), images, labels, held_out, upload.target,
            side=upload.side, seed=upload.seed, recipe=TRIGGER, place=upload.place,
        ).trigger  # fmt: skip
    setting = ImageAdversary(
        base=base, images=images, labels=labels, classify=classify, payload=classify, target=upload.target,
        own_target=upload.target, trigger=stamp, rows=rows, seed=upload.seed,
    ).setting()  # fmt: skip
    if upload.attack == "honest":
        return dataclasses.replace(attack, loss_weight=0.0).mount(setting, train), None
    attack = Adaptive() if upload.attack == "adaptive" else ATTACKS[upload.attack]
    if hasattr(attack, "rows"):
        attack = dataclasses.replace(attack, rows=ROWS)
    return attack.mount(setting, train), stamp.patterns[0]


def suspect(upload: Upload, name: str) -> PoolExpert:
    """Return an upload as the scan sees it: weights, head, unlabelled dev images."""
    _, tasks = bench()
    task = tasks[upload.task]
    return PoolExpert(name, weights(upload), task.head, task.scale, pixels(task.dev.images)[:256], task.classes)


def pool(uploads: tuple[Upload, ...]) -> Pool:
    """Return the pool of some uploads."""
    base, _ = bench()
    start = {name: parameter.detach() for name, parameter in base.named_parameters()}
    return Pool(base, start, tuple(suspect(upload, upload.task) for upload in uploads))


def merge(method: str = "task_arithmetic", **parameters: float) -> MergeWeights:
    """Return a merge of tables of weights; by default task arithmetic at the coefficient of these studies."""
    if method == "task_arithmetic" and not parameters:
        parameters = {"coefficient": COEFFICIENT}
    return merge_weights(make(method, **parameters))


def kept(kind: str, key: object, compute: Callable[[], object]) -> object:
    """Return a row from the journal, computing and writing it where it is absent: a stopped study goes on."""
    digest = hashlib.sha256(json.dumps([kind, key], sort_keys=True, default=str).encode()).hexdigest()[:24]
    path = KEPT / f"{kind}-{digest}.json"
    if not path.exists():
        row = compute()
        KEPT.mkdir(exist_ok=True)
        path.with_suffix(".part").write_text(json.dumps(row), encoding="utf-8")
        path.with_suffix(".part").rename(path)
    return json.loads(path.read_text(encoding="utf-8"))
