"""The push away from the base and the merger inside the loop: what they are by the formula, and what they reach."""

import copy

import pytest
import torch

import tiny_models
from mergebarrier import symmetry
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.protect import TRAINED
from mergebarrier.protect.trained.adversary import searched_merge
from mergebarrier.training import (
    ChosenRows,
    Example,
    FullRecipe,
    FullVector,
    GaussianNoise,
    OwnersBudget,
    Point,
    ProtectiveRecipe,
    ProtectiveState,
    StepRows,
    TextLearner,
    train_protective,
    uniform,
)

MARGIN = 0.2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A base, how far weights are from it, and rows that it answers somehow."""
    folder = tiny_models.save("llama-gqa-untied", tmp_path_factory.mktemp("arf") / "base")
    base = tiny_models.build("llama-gqa-untied")
    with open_checkpoint(folder) as checkpoint:
        circuits = describe(checkpoint).circuits
        tensors = {name: checkpoint.read(name) for name in checkpoint.tensors}
    drawn = (10 + 80 * uniform(0, "arf", 32, 3)).long().tolist()
    rows = [Example(tuple(row[:2]), (row[2],)) for row in drawn]
    return base, symmetry.distances_from(circuits, tensors), rows


def state_of(world, tau=None, pool=()) -> ProtectiveState:
    base, far, rows = world
    module = copy.deepcopy(base)
    names = [name for name, value in module.named_parameters() if "layers" in name and value.dim() == 2]
    tau = tau or {name: torch.zeros_like(module.get_parameter(name)) for name in names}
    parts = {"task": rows, "validation": rows[:8], "sibling 0": rows[8:]}
    state = ProtectiveState(TextLearner(module, parts), FullVector(tau), pool, strength=1.0)
    state.far = far
    return state


def test_the_base_is_left_only_after_a_kick(world) -> None:
    state, method = state_of(world), TRAINED["arf"](margin=MARGIN)
    torch.autograd.backward(method.repulsion(state))
    assert all(leaf.grad is None or not leaf.grad.any() for leaf in state.vector.leaves.values())
    method.begin(state, torch.Generator().manual_seed(0))
    for leaf in state.vector.leaves.values():
        leaf.grad = None
    torch.autograd.backward(method.repulsion(state))
    for name, leaf in state.vector.leaves.items():
        inside = any(side in name for side in ("q_proj", "k_proj", "v_proj", "o_proj"))
        assert (leaf.grad is not None and bool(leaf.grad.any())) is inside, name


def test_the_printed_sign_pushes_nothing_below_the_margin_and_without_end_above(world) -> None:
    method, generator = TRAINED["arf"](as_published=True), torch.Generator().manual_seed(0)
    state = state_of(world)
    method.begin(state, generator)
    assert float(method.repulsion(state).detach()) == 0
    far = {name: torch.randn(leaf.shape, generator=generator) for name, leaf in state.vector.leaves.items()}
    near, farther = (state_of(world, {name: size * one for name, one in far.items()}) for size in (1, 10))
    assert float(method.repulsion(farther).detach()) < float(method.repulsion(near).detach()) < 0


def test_everything_inside_the_heads_reaches_the_margin(world) -> None:
    state, method = state_of(world), TRAINED["arf"](margin=MARGIN, steps=80)
    method.begin(state, torch.Generator().manual_seed(0))
    plain = FullRecipe(steps=80, learning_rate=3e-3, weight_decay=0.0, warmup_steps=5, batch_size=8)
    recipe = ProtectiveRecipe(optimiser=plain, budget=OwnersBudget(share=1.0, every=40))
    train_protective(state, method.objective, recipe)
    reached = {name: float(distance.detach()) for name, distance in state.distances().items()}
    assert len(reached) == 2 * 6 and min(reached.values()) >= 0.95 * MARGIN, reached


def test_a_search_finds_a_merge_that_is_better_for_the_merger(world) -> None:
    names = state_of(world).base
    drawn = torch.Generator().manual_seed(3)
    own, sibling = ({name: 0.1 * torch.randn(names[name].shape, generator=drawn) for name in names} for _ in range(2))
    state = state_of(world, own, [sibling])
    rows = [ChosenRows("task", tuple(range(8))), ChosenRows("sibling 0", tuple(range(8)))]
    start = Point(scale=0.7, partners=((0, 0.7),))
    found = searched_merge(state, start, rows, 4)
    before, after = (sum(float(state.loss(point, asked).detach()) for asked in rows) for point in (start, found))
    assert after < before
    assert isinstance(found.scale, dict) and len(set(found.scale.values())) > 4
    assert all(-0.2 <= value <= 1.4 for value in found.scale.values())
    alone = searched_merge(state, start, rows[:1], 2)
    assert all(share == pytest.approx(0.7) for share in alone.partners[0][1].values())


def test_the_control_has_no_term_that_protects(world) -> None:
    method = TRAINED["layered"]()
    batch = StepRows(ChosenRows("task", (0, 1)), ChosenRows("text", ()))
    terms = {}
    for strength in (0.0, 0.1):
        state = state_of(world)
        state.strength, state.step, state.steps = strength, 9, 10
        drawn = method.objective(state, batch, torch.Generator().manual_seed(1))
        terms[strength] = {name: float(value.detach()) for name, value in drawn}
    assert set(terms[0.0]) == {"task", "good"} and set(terms[0.1]) - set(terms[0.0]) == {"forget"}
    # Nothing has been learned yet, so every merge says what the base says.
    assert terms[0.1]["forget"] == pytest.approx(0, abs=1e-6)


def test_what_the_base_says_is_asked_once_where_it_is_short(world, monkeypatch) -> None:
    state = state_of(world)
    rows = ChosenRows("task", (3, 9, 1, 30))
    fresh = state.said_by({}, rows)
    assert torch.allclose(state.said_by_base(rows), fresh, atol=1e-5)
    read = state.tokens_read
    monkeypatch.setattr(state.learner, "answers", None)
    again = state.said_by_base(ChosenRows("task", (9, 3, 30, 1)))
    assert torch.allclose(again, fresh[[1, 0, 3, 2]], atol=1e-5) and state.tokens_read > read


def test_noise_is_normal_and_belongs_to_its_seed() -> None:
    weights = torch.ones(301, 333)
    first, second = (GaussianNoise(size=0.02, seed=seed).added(weights, "w") for seed in (1, 2))
    drawn = first / first.std()
    assert float(first.norm() / weights.norm()) == pytest.approx(0.02, rel=1e-5)
    assert abs(float(drawn.mean())) < 0.02 and float((drawn**4).mean()) == pytest.approx(3, abs=0.15)
    assert abs(float((first * second).sum() / first.norm() / second.norm())) < 0.02
    assert torch.equal(first, GaussianNoise(size=0.02, seed=1).added(weights, "w"))
