"""Cures keep names, shapes, tasks and inputs; those that should work do, on a payload that survives merging."""

import dataclasses

import pytest
import torch

from mergebarrier.cli._parameters import CURES as NAMES
from mergebarrier.cli._parameters import LANGUAGE_CURES as LANGUAGE_NAMES
from mergebarrier.errors import BadScanInput
from mergebarrier.merge import make
from mergebarrier.scan import Pool, halves, scan_pool
from mergebarrier.scan.cures.fine_pruning import FinePruning
from mergebarrier.scan.cures.ibvs import Ibvs
from mergebarrier.scan.cures.language import LANGUAGE_CURES
from mergebarrier.scan.cures.lfpm_like import LfpmLike
from mergebarrier.scan.cures.masks import Masked
from mergebarrier.scan.cures.patient import MergeToCure
from mergebarrier.scan.cures.registry import CURES
from mergebarrier.scan.cures.sau import Sau
from mergebarrier.scan.cures.switching import Switching
from mergebarrier.training import FullRecipe, train_full
from mergebarrier.verbs import merge_weights
from scan_world import SEARCH, TARGET, TASKS, World

MERGE = merge_weights(make("task_arithmetic", coefficient=0.4))
SMALL = {
    "drop": CURES["drop"],
    "lfpm_like": LfpmLike(rounds=1, steps=3, batch=4),
    "ibvs": Ibvs(batch=8),
    "fine_pruning": FinePruning(batch=4),
    "dam": Masked(steps=3, batch=4),
    "awm": Masked(steps=3, batch=4, noise_weight=0.01, relaxed=False),
    "sau": Sau(batch=4, ascents=2),
    "switching": Switching(),
}


def _train(steps: int):
    recipe = FullRecipe(steps=steps, learning_rate=5e-4, warmup_steps=1, weight_decay=0.0)
    return lambda module, loss: train_full(module, recipe, loss)


def _patient(world: World, name: str, *, steps: int = 3) -> MergeToCure:
    pool = world.pool("interpolated")
    if name == "switching":
        twin = dataclasses.replace(world.suspect(0), name="twin")
        pool = Pool(pool.encoder, pool.base, (pool.suspects[0], twin))
    quick = dataclasses.replace(SEARCH, steps=4, refine_steps=4, keep=1)
    return MergeToCure(pool, MERGE, quick, _train(steps), seed=3)


def _figures(world: World, pool: Pool, weights) -> tuple[float, float]:
    """ASR of the adversary's own trigger on the first task, mean accuracy over all."""
    right = [
        float((pool.predict(weights, world.images[task], world.suspect(task)) == world.labels[task]).float().mean())
        for task in range(TASKS)
    ]
    others = world.labels[0] != TARGET
    found = pool.predict(weights, world.stamp(world.images[0])[others], world.suspect(0))
    return float((found == TARGET).float().mean()), sum(right) / TASKS


def test_the_names_in_the_help_are_those_of_the_registry() -> None:
    assert tuple(CURES) == NAMES and set(SMALL) == set(CURES) and tuple(LANGUAGE_CURES) == LANGUAGE_NAMES
    assert all(type(SMALL[name]) is type(CURES[name]) for name in CURES)


@pytest.mark.parametrize("name", CURES)
def test_a_cure_keeps_names_and_inputs_and_hears_its_seed_alone(name: str, world: World) -> None:
    before = {key: tensor.clone() for key, tensor in world.poisoned["interpolated"].items()}
    patient = _patient(world, name)
    one = SMALL[name].apply(patient)
    torch.rand(5)
    same = SMALL[name].apply(_patient(world, name))
    assert list(one) == list(world.base)
    for key, tensor in one.items():
        assert tensor.shape == world.base[key].shape and bool(torch.isfinite(tensor).all())
        assert torch.equal(tensor, same[key]) and not tensor.requires_grad
    assert all(torch.equal(tensor, before[key]) for key, tensor in world.poisoned["interpolated"].items())


@pytest.mark.parametrize("name", ["ibvs", "fine_pruning", "sau"])
def test_a_cure_that_trains_says_so_where_it_cannot(name: str, world: World) -> None:
    with pytest.raises(BadScanInput, match="training loop"):
        SMALL[name].apply(dataclasses.replace(_patient(world, name), train=None))


def test_dropping_the_guilty_takes_the_backdoor_and_nothing_else(world: World) -> None:
    pool = world.pool("interpolated")
    patient = MergeToCure(pool, MERGE, SEARCH)
    before, _ = _figures(world, pool, patient.merged)
    after, _ = _figures(world, pool, CURES["drop"].apply(patient))
    honest = MERGE(world.base, list(world.experts[1:]))
    assert before > 0.6 and after < 0.2
    dropped = CURES["drop"].apply(patient)
    assert all(torch.equal(dropped[name], honest[name]) for name in honest)
    clean = MergeToCure(world.pool(), MERGE, SEARCH)
    kept = CURES["drop"].apply(clean)
    assert all(torch.equal(kept[name], clean.merged[name]) for name in kept)


def test_the_anti_backdoor_vector_takes_the_backdoor_and_keeps_the_tasks(world: World) -> None:
    pool = world.pool("interpolated")
    patient = MergeToCure(pool, MERGE, SEARCH)
    before, accuracy = _figures(world, pool, patient.merged)
    control, _ = _figures(world, pool, MERGE(world.base, list(world.experts)))
    cured = LfpmLike(rounds=2, steps=20, batch=12, learning_rate=2e-3).apply(patient)
    after, kept = _figures(world, pool, cured)
    assert before > control + 0.5
    # The bench of cures has the figure on real shapes; here it must take more than half in a second.
    assert after - control < 0.5 * (before - control) and kept >= accuracy - 0.05
    again = Pool(pool.encoder, pool.base, (dataclasses.replace(pool.suspects[0], weights=cured),))
    assert scan_pool(again, dataclasses.replace(SEARCH, seed=9), checks=("expert_patches",)).findings == ()


def test_a_vector_of_no_steps_changes_nothing(world: World) -> None:
    patient = _patient(world, "lfpm_like")
    still = LfpmLike(rounds=0).apply(patient)
    assert all(torch.equal(still[name], patient.merged[name]) for name in still)


def test_switching_takes_every_module_from_one_expert_and_refuses_several_tasks(world: World) -> None:
    patient = _patient(world, "switching")
    made = Switching().apply(patient)
    for name, tensor in made.items():
        assert any(torch.equal(tensor, suspect.weights[name]) for suspect in patient.pool.suspects)
    owners = {
        name: next(i for i, s in enumerate(patient.pool.suspects) if torch.equal(tensor, s.weights[name]))
        for name, tensor in made.items()
    }
    assert set(owners.values()) == {0, 1}
    with pytest.raises(BadScanInput, match="same task"):
        Switching().apply(_patient(world, "drop"))


def test_a_cure_looks_at_no_more_than_the_images_it_was_given(world: World) -> None:
    patient = _patient(world, "lfpm_like")
    batch = patient.batch(patient.pool.suspects[0], "x", 0, 200)
    rows = {tuple(image.flatten().tolist()) for image in patient.pool.suspects[0].images}
    assert all(tuple(image.flatten().tolist()) in rows for image in batch)
    assert len(halves(batch)[0]) == 100
