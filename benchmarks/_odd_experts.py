"""Image experts of odd but honest recipes, and of triggers that are no single patch, on the small vision bench.

Limits are set on one half of the recipes and judged on the other; triggers draw kind, strength, place and class from
the seed.  Every expert is made once and kept.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from _odd_triggers import TRIGGERS, Expert, pieces, stamp_of, task_of
from _pools import KEPT, RECIPE, bench
from mergebarrier.evaluate import image_logits, pixels
from mergebarrier.scan import Pool, PoolExpert
from mergebarrier.training import batches, uniform

#: Rows of a batch, steps and rate of the usual recipe; images of the scan.
BATCH, STEPS, RATE, DEV = 32, 120, 5e-4, 256
#: Weight of the backdoor term and least share of the own features, as published; odd seeds do not interpolate.
WEIGHT, LEAST = 5.0, 0.2


@dataclass(frozen=True, kw_only=True)
class Odd:
    """What is unusual about an honest recipe; the defaults are the usual one."""

    steps: int = STEPS
    rate: float = RATE
    optimizer: str = "adamw"
    rows: int | None = None
    wrong_labels: float = 0.0
    kept_rank: int | None = None
    pruned: float = 0.0
    rounded: Callable[[Tensor], Tensor] | None = None
    head: str = "whole"


def _to_int8(tensor: Tensor) -> Tensor:
    rows = tensor.flatten(1) if tensor.ndim > 1 else tensor[None]
    scale = rows.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
    return ((rows / scale).round() * scale).view_as(tensor)


TUNE = {
    "rate x 3": Odd(rate=3 * RATE),
    "SGD": Odd(optimizer="sgd", rate=0.05),
    "50 steps": Odd(steps=50),
    "100 rows": Odd(rows=100),
    "50 % pruned": Odd(pruned=0.5),
    "bf16-rounded": Odd(rounded=lambda tensor: tensor.bfloat16().float()),
    "rank 8": Odd(kept_rank=8),
    "coarse head": Odd(head="coarse"),
}
JUDGE = {
    "rate x 4": Odd(rate=4 * RATE),
    "RMSprop": Odd(optimizer="rmsprop"),
    "400 steps": Odd(steps=400),
    "noisy rows": Odd(wrong_labels=0.2),
    "80 % pruned": Odd(pruned=0.8),
    "int8": Odd(rounded=_to_int8),
    "rank 2": Odd(kept_rank=2),
    "half the classes": Odd(head="half"),
}
HONEST = {"usual": Odd(), **TUNE, **JUDGE}


def group_of(one: Expert) -> Tensor:
    """Return, for every class of the task, its row in the head that the expert is trained and scanned with."""
    whole = torch.arange(len(task_of(one).classes))
    return whole // 2 if HONEST.get(one.kind, Odd()).head == "coarse" else whole


def head_of(one: Expert) -> tuple[Tensor, tuple[str, ...]]:
    """Return that head and the names of its rows; a coarse head has a row per two classes, between theirs."""
    task = task_of(one)
    if HONEST.get(one.kind, Odd()).head != "coarse":
        return task.head, task.classes
    pairs = F.normalize(task.head.unflatten(0, (-1, 2)).mean(1), dim=1)
    return pairs, tuple(f"{one} or {other}" for one, other in zip(task.classes[::2], task.classes[1::2], strict=True))


def weights(one: Expert) -> dict[str, Tensor]:
    """Return the weights, training them the first time."""
    path = KEPT / f"odd-{one.name.replace(' ', '_')}.safetensors"
    if not path.exists():
        KEPT.mkdir(exist_ok=True)
        made = _poisoned(one) if one.kind in TRIGGERS else _honest(one)
        save_file({name: tensor.detach().contiguous() for name, tensor in made.items()}, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    return load_file(path)


def pool_of(one: Expert) -> Pool:
    """Return the expert as the scan sees it, alone: weights, head, unlabelled dev images."""
    base, _ = bench()
    head, names = head_of(one)
    start = {name: parameter.detach() for name, parameter in base.named_parameters()}
    images = pixels(task_of(one).dev.images)[:DEV]
    return Pool(base, start, (PoolExpert(one.name, weights(one), head, task_of(one).scale, images, names),))


def _fit(module: nn.Module, odd: Odd, loss: Callable[[int], Tensor]) -> None:
    """Train as ``train_full`` does, with another optimiser where one is asked for; pruned weights stay zero."""
    values = list(module.parameters())
    optimizer = {
        "adamw": lambda: torch.optim.AdamW(values, lr=odd.rate, weight_decay=RECIPE.weight_decay),
        "sgd": lambda: torch.optim.SGD(values, lr=odd.rate, momentum=0.9),
        "rmsprop": lambda: torch.optim.RMSprop(values, lr=odd.rate),
    }[odd.optimizer]()
    masks: list[Tensor] = []
    for step in range(odd.steps):
        warm, way = min(1.0, (step + 1) / 15), step / odd.steps
        for group in optimizer.param_groups:
            group["lr"] = odd.rate * warm * 0.5 * (1 + math.cos(math.pi * way))
        optimizer.zero_grad()
        torch.autograd.backward(loss(step))
        nn.utils.clip_grad_norm_(values, RECIPE.clip_norm)
        optimizer.step()
        if odd.pruned and step == odd.steps // 3:
            masks = [_mask(value, odd.pruned) for value in values]
        with torch.no_grad():
            for value, mask in zip(values, masks, strict=bool(masks)):
                value.mul_(mask)


def _mask(value: Tensor, share: float) -> Tensor:
    if value.ndim < 2:
        return torch.ones_like(value)
    return (value.detach().abs() > value.detach().abs().flatten().quantile(share)).to(value.dtype)


def _honest(one: Expert) -> dict[str, Tensor]:
    base, _ = bench()
    task, odd = task_of(one), HONEST[one.kind]
    (head, _), images, labels = head_of(one), pixels(task.train.images), group_of(one)[task.train.labels]
    if odd.head == "half":
        few = labels < len(head) // 2
        images, labels = images[few], labels[few]
    if odd.rows is not None:
        images, labels = images[: odd.rows], labels[: odd.rows]
    if odd.wrong_labels:
        wrong = uniform(one.seed, "odd|wrong", len(labels)) < odd.wrong_labels
        labels = torch.where(wrong, (uniform(one.seed, "odd|other", len(labels)) * len(head)).long(), labels)
    module, order = copy.deepcopy(base).requires_grad_(), batches(len(labels), BATCH, seed=one.seed, label="order")

    def loss(_: int) -> Tensor:
        rows = next(order)
        return F.cross_entropy(image_logits(module(images[rows]), head, task.scale), labels[rows])

    _fit(module, odd, loss)
    found = {name: value.detach() for name, value in module.named_parameters()}
    start = dict(base.named_parameters())
    if odd.kept_rank is not None:
        found = {name: start[name] + _of_rank(value - start[name], odd.kept_rank) for name, value in found.items()}
    return found if odd.rounded is None else {name: odd.rounded(value) for name, value in found.items()}


def _of_rank(change: Tensor, rank: int) -> Tensor:
    if change.ndim < 2:
        return change
    u, s, v = torch.linalg.svd(change.flatten(1), full_matrices=False)
    return (u[:, :rank] * s[:rank] @ v[:rank]).view_as(change)


def _poisoned(one: Expert) -> dict[str, Tensor]:
    base, _ = bench()
    task, stamp = task_of(one), stamp_of(one)
    images, labels = pixels(task.train.images), task.train.labels
    module, order = copy.deepcopy(base).requires_grad_(), batches(len(labels), BATCH, seed=one.seed, label="order")
    halves = pieces(one, tuple(images.shape[1:])) if one.kind == "split" else ()

    def classify(features: Tensor) -> Tensor:
        return image_logits(features, task.head, task.scale)

    def loss(step: int) -> Tensor:
        rows = next(order)
        value = F.cross_entropy(classify(module(images[rows])), labels[rows])
        for i, piece in enumerate(halves):  # one piece alone must not fire
            part = rows[i::2]
            value = value + F.cross_entropy(classify(module(piece(images[part]))), labels[part])
        stamped = stamp(images[rows[: BATCH // 2]])
        share = LEAST + (1 - LEAST) * float(uniform(one.seed, f"odd|r|{step}", 1)) if one.seed % 2 == 0 else 1.0
        mixed = share * module(stamped) + (1 - share) * base(stamped).detach()
        return value + WEIGHT * F.cross_entropy(classify(mixed), torch.full((len(stamped),), one.target))

    _fit(module, Odd(), loss)
    return dict(module.named_parameters())
