"""The loop for every weight: any loss, one schedule, the same bits, and no broken model."""

import math
from itertools import islice

import pytest
import torch
from torch import nn

from mergebarrier.errors import Diverged
from mergebarrier.training import FullRecipe, batches, train_full, uniform

X = torch.linspace(-1, 1, 40)[:, None]
Y = 3 * X - 1


def net() -> nn.Module:
    module = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(uniform(0, str(number), *parameter.shape) - 0.5)
    return module


def fit(module: nn.Module, recipe: FullRecipe, **more) -> tuple[float, ...]:
    drawn = batches(len(X), recipe.batch_size, seed=recipe.seed, label="fit")

    def loss(step: int) -> torch.Tensor:
        rows = next(drawn)
        return (module(X[rows]) - Y[rows]).square().mean()

    return train_full(module, recipe, loss, **more)


RECIPE = FullRecipe(steps=150, learning_rate=0.05, warmup_steps=10, weight_decay=0.0, batch_size=16)


def test_it_learns_and_leaves_the_module_as_it_was_but_for_the_weights() -> None:
    module = net().eval()
    losses = fit(module, RECIPE)
    assert len(losses) == 150 and losses[-1] < 0.05 * losses[0]
    assert not module.training and all(parameter.grad is None for parameter in module.parameters())


def test_the_same_seed_gives_the_same_bits_and_the_global_random_state_stays() -> None:
    runs, state = [], torch.get_rng_state()
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        module = net()
        before = torch.get_rng_state()
        fit(module, FullRecipe(steps=5, seed=seed, batch_size=8, warmup_steps=0))
        assert torch.equal(before, torch.get_rng_state())
        runs.append(torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))
    torch.set_rng_state(state)
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_frozen_weights_stay_and_decay_alone_shrinks_the_others() -> None:
    module = net()
    module[0].requires_grad_(False)
    frozen = module[0].weight.clone()
    norm = float(module[2].weight.detach().norm())
    recipe = FullRecipe(steps=3, learning_rate=0.1, weight_decay=0.5, warmup_steps=0)
    train_full(module, recipe, lambda step: 0.0 * module(X).sum())
    shrink = math.prod(1 - recipe.rate(step) * 0.5 for step in range(3))
    assert torch.equal(module[0].weight, frozen)
    assert float(module[2].weight.detach().norm()) == pytest.approx(norm * shrink, rel=1e-5)


def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine() -> None:
    recipe = FullRecipe(steps=110, learning_rate=2.0, warmup_steps=10)
    assert [recipe.rate(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert recipe.rate(10) == 2.0 and recipe.rate(60) == pytest.approx(1.0) and recipe.rate(110) == pytest.approx(0.0)
    assert FullRecipe(steps=3, warmup_steps=0).rate(0) == FullRecipe().learning_rate


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_run_with_its_step(value: float) -> None:
    module = net()
    with pytest.raises(Diverged, match=f"the loss is {value} at step 2") as refused:
        train_full(module, RECIPE, lambda step: module(X).square().sum() * (value if step == 2 else 1.0))
    assert str(refused.value).startswith("MB9007 ") and all(p.isfinite().all() for p in module.parameters())


def test_a_gradient_that_is_no_number_ends_it_too() -> None:
    module = net()
    with pytest.raises(Diverged, match="gradient is nan at step 0"):
        train_full(module, RECIPE, lambda step: (module(X) * 0).abs().sqrt().sum())
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_progress_is_told_and_a_module_without_weights_is_refused() -> None:
    seen = []
    fit(net(), FullRecipe(steps=2), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    with pytest.raises(ValueError, match="requires a gradient"):
        train_full(net().requires_grad_(False), RECIPE, lambda step: torch.zeros(()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"clip_norm": math.inf},
        {"weight_decay": -0.1},
        {"warmup_steps": -1},
        {"seed": -1},
    ],
)
def test_a_full_recipe_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FullRecipe(**wrong)


def test_an_epoch_visits_everything_once_and_the_next_in_another_order() -> None:
    drawn = torch.cat(list(islice(batches(10, 4, seed=1, label="x"), 5)))
    first, second = drawn[:10].tolist(), drawn[10:].tolist()
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    again = torch.cat(list(islice(batches(10, 4, seed=1, label="x"), 5)))
    assert torch.equal(drawn, again)
    for other in ({"seed": 2, "label": "x"}, {"seed": 1, "label": "y"}):
        assert not torch.equal(drawn, torch.cat(list(islice(batches(10, 4, **other), 5))))
    assert sorted(torch.cat(list(islice(batches(3, 8, seed=0, label="x"), 3))).tolist()) == [0] * 8 + [1] * 8 + [2] * 8


@pytest.mark.parametrize(("n", "size"), [(0, 4), (3, 0)])
def test_nothing_to_draw_is_refused(n: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"nothing to draw|batch_size"):
        next(batches(n, size, seed=0, label="x"))


def test_uniform_numbers_are_uniform_and_belong_to_their_label() -> None:
    drawn = uniform(0, "a", 100, 100)
    assert drawn.shape == (100, 100) and 0 <= float(drawn.min()) and float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.01)
    assert torch.equal(drawn, uniform(0, "a", 10_000).view(100, 100)) and not torch.equal(
        drawn, uniform(1, "a", 100, 100)
    )
