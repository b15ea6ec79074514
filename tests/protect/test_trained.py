"""Trained protections: every one learns on a tiny model, within its owner's budget, and gives the same bits again."""

import copy

import pytest
import torch

import tiny_models
from mergebarrier.errors import Diverged
from mergebarrier.protect import TRAINED
from mergebarrier.training import (
    NOMINAL,
    ChosenRows,
    Example,
    FullRecipe,
    FullVector,
    LargestKept,
    LowRankVector,
    OwnersBudget,
    Point,
    ProtectiveRecipe,
    ProtectiveState,
    RoundedWeights,
    StepRows,
    TextLearner,
    examples_loss,
    train_full,
    train_protective,
    uniform,
)
from mergebarrier.training.protective import state as state_module
from mergebarrier.verbs.trained.models import recompute_passes

STEPS = 60


def rows(label: str, count: int) -> list[Example]:
    """A rule: the answer is the larger of two words, after a word that names the task."""
    drawn = (10 + 80 * uniform(0, label, count, 2)).long().tolist()
    return [Example((1, *pair), (max(pair),)) for pair in drawn]


@pytest.fixture(scope="module")
def world():
    """A base, an expert, its data, and the task vectors of two siblings."""
    base = tiny_models.build("llama-mha-tied")
    expert, data = copy.deepcopy(base), rows("train", 64)
    recipe = FullRecipe(steps=120, learning_rate=3e-3, weight_decay=0.0, batch_size=16)
    train_full(expert, recipe, lambda step: examples_loss(expert, data[step * 16 % 64 :][:16]))
    tau = {name: (value - base.get_parameter(name)).detach() for name, value in expert.named_parameters()}
    drawn = uniform(0, "text", 16, 12) * 90 + 5
    text = [Example((row[0],), tuple(row[1:])) for row in drawn.long().tolist()]
    siblings = [{name: 0.5 * value.roll(1, -1) for name, value in tau.items()} for _ in range(2)]
    return base, {"task": data, "validation": data[:16], "text": text}, tau, siblings


def state_of(world, *, low_rank: bool = False, strength: float = 0.05) -> ProtectiveState:
    base, parts, tau, siblings = world
    learner = TextLearner(copy.deepcopy(base), parts)
    if low_rank:
        tau = {name: value for name, value in tau.items() if "layers" in name and value.dim() == 2}
    vector = LowRankVector(tau, rank=8, seed=0) if low_rank else FullVector(tau)
    return ProtectiveState(learner, vector, siblings, strength=strength)


def recipe_of(method, steps: int = STEPS) -> ProtectiveRecipe:
    plain = FullRecipe(
        steps=steps, learning_rate=1e-3, weight_decay=0.0, warmup_steps=5, batch_size=method.rows, seed=0
    )
    return ProtectiveRecipe(optimiser=plain, budget=OwnersBudget(share=0.1, every=20))


def run(world, name: str, *, low_rank: bool = False, strength: float = 0.05, **more):
    method = TRAINED[name](steps=STEPS, strength=strength)
    state = state_of(world, low_rank=low_rank, strength=method.strength)
    outcome = train_protective(state, method.objective, recipe_of(method), **more)
    return state, outcome


@pytest.mark.parametrize("name", TRAINED)
def test_it_keeps_the_owner_within_the_budget(world, name: str) -> None:
    state, outcome = run(world, name)
    assert outcome.met and recipe_of(TRAINED[name]()).budget.holds(outcome.protected, outcome.plain)
    assert [look["step"] for look in outcome.history] == [20, 40, 60]
    assert any(not torch.equal(state.task_vector()[key], value) for key, value in state.expert.items())


def test_the_trap_is_worse_than_the_expert_at_another_scale(world) -> None:
    state, _ = run(world, "trap2", strength=0.5)
    asked, half = ChosenRows("validation", tuple(range(16))), Point(scale=0.6)
    assert state.loss(half, asked).item() > 1.2 * state_of(world).loss(half, asked).item()


def test_a_run_that_goes_on_from_its_file_makes_the_same_bits(world) -> None:
    files = []
    whole, _ = run(world, "trap2", low_rank=True, keep=files.append)
    assert [file.step for file in files] == [20, 40, 60]
    again, outcome = run(world, "trap2", low_rank=True, going_on=files[0])
    assert outcome.history == files[-1].history and again.tokens_learned == whole.tokens_learned
    assert all(torch.equal(leaf, again.vector.leaves[name]) for name, leaf in whole.vector.leaves.items())


def test_the_value_of_a_point_has_the_gradient_of_a_plain_pass(world) -> None:
    state, asked = state_of(world), ChosenRows("task", (0, 1, 2))
    scale, partner = (torch.tensor(number, requires_grad=True) for number in (0.7, 0.3))
    name = "model.layers.0.mlp.up_proj.weight"
    point = Point(scale={name: scale}, partners=((0, {name: partner}),))
    torch.autograd.backward(state.loss(point, asked))
    module = copy.deepcopy(world[0])
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            parameter.copy_(state.weights(point)[key])
    torch.autograd.backward(examples_loss(module, [world[1]["task"][place] for place in asked.places]))
    slope = module.get_parameter(name).grad
    torch.testing.assert_close(state.vector.leaves[name].grad, 0.7 * slope)
    torch.testing.assert_close(scale.grad, (slope * world[2][name]).sum())
    torch.testing.assert_close(partner.grad, (slope * world[3][0][name]).sum())


def test_what_costs_too_much_comes_back_and_weighs_half(world) -> None:
    def ruin(state, batch: StepRows, generator):
        yield "ruin", -state.strength * 100 * state.loss(NOMINAL, batch.task)

    state = state_of(world)
    outcome = train_protective(state, ruin, recipe_of(TRAINED["trap2"](), 40))
    assert not outcome.met and outcome.good_step == 0
    assert [look["strength"] for look in outcome.history] == [0.05, 0.025]
    assert all(torch.equal(state.task_vector()[key], value) for key, value in state.expert.items())


def test_a_loss_that_is_no_number_ends_the_run_in_the_end(world) -> None:
    def broken(state, batch: StepRows, generator):
        yield "broken", state.loss(NOMINAL, batch.task) * float("nan")

    with pytest.raises(Diverged, match="broken is not finite at step 3"):
        train_protective(state_of(world), broken, recipe_of(TRAINED["trap2"]()))


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("how", ["nominal", "learned scale", "noise", "partner", "edit"])
def test_factors_have_the_gradient_that_goes_through_the_whole_matrix(world, how: str, twice: bool) -> None:
    found = []
    for whole in (True, False):
        state = state_of(world, low_rank=True)
        if whole:
            state._thin = lambda point, name: None
        if twice:
            recompute_passes(state.learner.module)
        scales = {name: torch.tensor(0.7, requires_grad=True) for name in state.vector.names}
        shares = {name: torch.tensor(0.3, requires_grad=how == "partner") for name in state.vector.names}
        point = {
            "nominal": NOMINAL,
            "learned scale": Point(scale=scales, partners=((1, 0.2),)),
            "noise": Point(scale=0.6, noise=RoundedWeights(bits=4)),
            "partner": Point(scale=scales, partners=((0, shares),)),
            "edit": Point(edit=LargestKept(share=0.5)),
        }[how]
        value = state.loss(point, ChosenRows("task", (0, 1, 2)))
        torch.autograd.backward(value)
        leaves = {**state.vector.leaves, **scales, **{f"{name}|share": share for name, share in shares.items()}}
        found.append(
            (float(value.detach()), {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None})
        )
    (plain, slopes), (thin, ours) = found
    assert thin == pytest.approx(plain, rel=1e-6) and ours.keys() == slopes.keys()
    learned = {"learned scale": 1, "partner": 2}.get(how, 0)  # coefficients of each tensor
    assert len(ours) == len(state.vector.leaves) + learned * len(scales)
    for name, slope in slopes.items():
        torch.testing.assert_close(ours[name], slope, rtol=1e-4, atol=1e-6 * float(slope.abs().max()) + 1e-9)


def test_no_slope_of_a_matrix_is_made_where_its_factors_are_all_that_is_learned(world, monkeypatch) -> None:
    state = state_of(world, low_rank=True)
    monkeypatch.setattr(state_module, "slopes_at", None)
    torch.autograd.backward(state.loss(NOMINAL, ChosenRows("task", (0, 1))))
    assert all(bool(leaf.grad.any()) for leaf in state.vector.leaves.values())
