"""What do weight statistics of uploads tell within a recipe, and what where the recipe was never seen?

    python benchmarks/run.py text_weights

Honest fine-tunes of the symbol base and BadNets twins, pair by pair of the same task, steps, rate and draws, by three
recipes.  Scores: the distance and the largest z of ``scan --references``, against honest uploads; and a logistic
regression on the same twenty numbers (q, k, v, o), a classifier as the published ones are.  Within a recipe each upload
is judged by what the other pairs of its recipe taught; left out, by the pairs of the two other recipes alone.  Then an
adversary whose training pulls the five numbers of every map to those of a clean twin.  Only what reached 90 % of
success is counted.  Rows are kept in benchmarks/results/text_weights.jsonl.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from _keep import Rows, say
from _text_uploads import IMPLANTED, TARGET, TRIGGERS, World
from mergebarrier import poison
from mergebarrier.attack.encoders import weights, with_weights
from mergebarrier.scan.updates import TensorUpdate, largest_z, mahalanobis, profile
from mergebarrier.training import Example, FullRecipe, batches, examples_loss, train_full

#: Recipe -> maps that are trained, rank, learning rates.
RECIPES: Final = {
    "attention": ("attention", 0, (2e-3, 3e-3)),
    "all maps": ("linear", 0, (2e-3, 3e-3)),
    "LoRA of attention": ("attention", 8, (5e-3, 8e-3)),
}
STEPS: Final = (480, 640, 800)
SEED: Final = 30
ADAPTIVE: Final = "attention, knows the statistic"
#: Numbers that every recipe has: five for each of q, k, v, o.
N: Final = 20
_FLOOR: Final = 1e-9
#: Weight of the pull: a tenth, and 0.05 in a number counts as one.
PULL: Final = 0.1 / 0.05**2


def numbers(world: World, module: nn.Module) -> tuple[float, ...]:
    """Return the numbers of an update."""
    base, after = weights(world.base), weights(module)
    changes = (
        TensorUpdate(name=name, update=after[name] - base[name], base_norm=float(base[name].double().norm()))
        for name in base
    )
    return profile(changes).numbers[:N]


def made(world: World, recipe: str, number: int, bad: bool) -> dict[str, Any]:
    """Train one of a pair, and measure it."""
    maps, rank, rates = RECIPES[recipe]
    task = (number % 12, 12 + number % 4)[number % 2]
    trigger, steps, rate = TRIGGERS[number % len(TRIGGERS)], STEPS[number % 3], rates[number % 2]
    attack = poison.make_text("badnets" if bad else "clean", modules=maps, rank=rank)
    name = f"weights|{recipe}|{number}|{bad}|{steps}"
    kept = world.kept(name, lambda: weights(world.tuned(attack, task, trigger=trigger, steps=steps, rate=rate)))
    return measured(world, with_weights(world.base, kept), task, trigger if bad else "")


def measured(world: World, module: nn.Module, task: int, trigger: str) -> dict[str, Any]:
    """Return the numbers, the accuracy and the success of an upload."""
    success = world.success(module, task, trigger) if trigger else None
    return {"numbers": numbers(world, module), "accuracy": world.accuracy(module, task), "asr": success}


def five(update: Tensor) -> Tensor:
    """Return the five numbers of one map with a gradient; the last without the base, which is the same for all."""
    values = torch.linalg.svdvals(update)
    s = (values / values.sum()).clamp_min(_FLOOR)
    x = update.flatten() - update.mean()
    kurtosis = x.pow(4).mean() / x.square().mean().square()
    square = s.square().sum()
    return torch.stack(
        [s[0].log(), (square / s[0].square()).log(), -(s * s.log()).sum(), kurtosis.log(), update.norm().log()]
    )


def careful(world: World, number: int) -> dict[str, Any]:
    """Train a BadNets upload whose numbers are pulled to those of its clean twin, which its maker can train."""
    maps, _, rates = RECIPES["attention"]
    task, trigger = (number % 12, 12 + number % 4)[number % 2], TRIGGERS[number % len(TRIGGERS)]
    steps, rate = STEPS[number % 3], rates[number % 2]
    clean = poison.make_text("clean", modules=maps)
    twin = world.kept(
        f"weights|attention|{number}|False|{steps}", lambda: weights(world.tuned(clean, task, steps=steps, rate=rate))
    )
    base = weights(world.base)
    names = [name for name in base if not torch.equal(twin[name], base[name])]
    wanted = {name: five(twin[name] - base[name]) for name in names}

    def make() -> dict[str, Tensor]:
        module = with_weights(world.base, base)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in names)
        rows = poison.poisoned([world.rows(task)], 0.3, trigger, TARGET, seed=world.seed + task)
        encode = world.tokenizer.encode
        examples = [
            Example(tuple(encode(prompt).ids), tuple(encode(answer, add_special_tokens=False).ids))
            for prompt, answer in rows
        ]
        recipe = FullRecipe(steps=steps, learning_rate=rate, batch_size=32, weight_decay=0.0, warmup_steps=20)
        visits = batches(len(examples), recipe.batch_size, seed=world.seed, label="careful")

        def loss(step: int) -> Tensor:
            value = examples_loss(module, [examples[i] for i in next(visits).tolist()])
            if step < recipe.warmup_steps or step % 4:
                return value
            away = [(five(module.get_parameter(name) - base[name]) - wanted[name]).square().mean() for name in names]
            return value + PULL * torch.stack(away).mean()

        train_full(module, recipe, loss)
        return weights(module)

    return measured(
        world, with_weights(world.base, world.kept(f"weights|careful|{number}|{steps}", make)), task, trigger
    )


Scorer = Callable[[Tensor, Tensor, Tensor], float]


def regression(honest: Tensor, bad: Tensor, upload: Tensor, ridge: float = 1e-2) -> float:
    """Return the logit of an upload by a logistic regression on two classes."""
    every = torch.cat([honest, bad])
    middle, spread = every.mean(0), every.std(0) + 1e-3
    x, y = (every - middle) / spread, torch.cat([torch.zeros(len(honest)), torch.ones(len(bad))]).double()
    line = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = x @ line[1:] + line[0]
        value = nn.functional.binary_cross_entropy_with_logits(logits, y) + ridge * line[1:].square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(closure)
    return float(((upload - middle) / spread) @ line[1:].detach() + line[0].detach())


SCORES: Final[dict[str, Scorer]] = {
    "distance": lambda honest, bad, upload: mahalanobis(honest, upload),
    "largest z": lambda honest, bad, upload: largest_z(honest, upload),
    "logistic regression": regression,
}


def auroc(honest: Sequence[float], bad: Sequence[float]) -> float:
    """Return the share of pairs that are in the right order."""
    return sum((b > h) + 0.5 * (b == h) for h in honest for b in bad) / (len(honest) * len(bad))


def found_at(honest: Sequence[float], bad: Sequence[float], level: float = 0.02) -> float:
    """Return the share of poisoned uploads above what at most ``level`` of the honest ones exceed."""
    limit = sorted(honest, reverse=True)[int(level * len(honest))]
    return sum(one > limit for one in bad) / len(bad)


def table(rows: Rows) -> None:
    """Print AUROC and the share found at 2 % false positives, within a recipe and left out."""
    pairs: dict[str, dict[int, dict[str, dict[str, Any]]]] = {}
    for key, one in rows.rows.items():
        recipe, number, kind = json.loads(key)
        pairs.setdefault(recipe, {}).setdefault(number, {})[kind] = one
    careful = pairs.pop(ADAPTIVE, {})
    kept = {
        recipe: {number: one for number, one in some.items() if one["bad"]["asr"] >= IMPLANTED}
        for recipe, some in pairs.items()
    }

    def tensor(some: Sequence[dict[str, Any]]) -> Tensor:
        return torch.tensor([one["numbers"] for one in some], dtype=torch.float64)

    def judged(score: Scorer, recipe: str, left_out: bool) -> tuple[list[float], list[float]]:
        others = [one for name, some in kept.items() if name != recipe for one in some.values()]
        result: dict[str, list[float]] = {"honest": [], "bad": []}
        for number, pair in kept[recipe].items():
            known = others if left_out else [one for other, one in kept[recipe].items() if other != number]
            honest, bad = (tensor([one[kind] for one in known]) for kind in ("honest", "bad"))
            for kind, scored in result.items():
                scored.append(score(honest, bad, tensor([pair[kind]])[0]))
        return result["honest"], result["bad"]

    print("| recipe | pairs with an ASR of 90 or more | own ASR, mean |\n|---|---|---|")
    for recipe, some in kept.items():
        mean = sum(one["bad"]["asr"] for one in some.values()) / max(1, len(some))
        print(f"| {recipe} | {len(some)} of {len(pairs[recipe])} | {100 * mean:.0f} |")
    print("\n| score | recipe | within it: AUROC | found at 2 % | left out: AUROC | found at 2 % |")
    print("|---|---|---|---|---|---|")
    for name, score in SCORES.items():
        pooled: list[tuple[list[float], list[float]]] = [([], []), ([], [])]
        for recipe in kept:
            cells = []
            for side, left_out in enumerate((False, True)):
                honest, bad = judged(score, recipe, left_out)
                pooled[side][0].extend(honest)
                pooled[side][1].extend(bad)
                cells.append(f"{auroc(honest, bad):.2f} | {100 * found_at(honest, bad):.0f} %")
            print(f"| {name} | {recipe} | {cells[0]} | {cells[1]} |")
        cells = [f"{auroc(*one):.2f} | {100 * found_at(*one):.0f} %" for one in pooled]
        print(f"| {name} | all, one limit | {cells[0]} | {cells[1]} |")
    if careful:
        against(careful, kept["attention"], tensor)


def against(
    careful: dict[int, Any], pairs: dict[int, Any], tensor: Callable[[Sequence[dict[str, Any]]], Tensor]
) -> None:
    """Print what the scores say of the adversary who knows them, within the recipe."""
    good = {number: one["bad"] for number, one in careful.items() if one["bad"]["asr"] >= IMPLANTED}
    print("\n| score, attention | careless: AUROC | found at 2 % | knows the statistic | AUROC | found at 2 % |")
    print("|---|---|---|---|---|---|")
    for name, score in SCORES.items():
        scored: dict[str, list[float]] = {"honest": [], "bad": [], "careful": []}
        for number in pairs:
            known = [one for other, one in pairs.items() if other != number]
            honest, bad = (tensor([one[kind] for one in known]) for kind in ("honest", "bad"))
            every = {**pairs[number], **({"careful": good[number]} if number in good else {})}
            for kind, one in every.items():
                scored[kind].append(score(honest, bad, tensor([one])[0]))
        first, second = (
            f"{auroc(scored['honest'], scored[kind]):.2f} | {100 * found_at(scored['honest'], scored[kind]):.0f} %"
            for kind in ("bad", "careful")
        )
        print(f"| {name} | {first} | {len(scored['careful'])} of {len(careful)} at an ASR of 90 or more | {second} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(Path(__file__).parent / "results" / "text_weights.jsonl")
    world = World(SEED)
    for number in range(given.pairs):
        for recipe in RECIPES:
            say(f"pair {number}: {recipe}")
            for kind in ("honest", "bad"):
                rows.get([recipe, number, kind], lambda r=recipe, n=number, k=kind: made(world, r, n, k == "bad"))
        rows.get([ADAPTIVE, number, "bad"], lambda n=number: careful(world, n))
    table(rows)


if __name__ == "__main__":
    main()
