"""Each check finds what it is for, and leaves honest pools alone."""

import dataclasses

import pytest
import torch

from mergebarrier.merge import make
from mergebarrier.scan import (
    Pool,
    along,
    halves,
    invert,
    judge_task_vectors,
    leave_out,
    measure,
    scan_pool,
    seek,
    stamp,
)
from mergebarrier.verbs import merge_weights
from scan_world import SEARCH, TARGET, World

MERGE = merge_weights(make("task_arithmetic", coefficient=0.4))
SEEN = ("expert_patches", "merge_patches", "leave_out")


def test_an_honest_pool_gives_no_finding(world: World) -> None:
    assert scan_pool(world.pool(), SEARCH, merge=MERGE, checks=SEEN).findings == ()


@pytest.mark.parametrize("poison", ["plain", "interpolated"])
def test_a_poisoned_expert_is_named_with_its_class_and_place(poison: str, world: World) -> None:
    outcome = scan_pool(world.pool(poison), SEARCH, merge=MERGE, checks=SEEN)
    by_rule = {found.rule: found for found in outcome.findings}
    assert by_rule["MB7301"].model == by_rule["MB7304"].model == "expert0"
    assert by_rule["MB7301"].evidence["target"] == f"0{TARGET}" and by_rule["MB7301"].evidence["place"] == "12,12"
    assert by_rule["MB7303"].evidence["task"] == "expert0"
    assert outcome.experts[0].excess > 0.9 > 0.5 > max(one.excess for one in outcome.experts[1:])


def test_the_probe_tells_a_payload_that_survives_from_one_that_fades(world: World) -> None:
    blunt = dataclasses.replace(SEARCH, contrast=0.0)
    guilty = [world.suspect(0, world.poisoned[poison]) for poison in ("plain", "interpolated")]
    one, other = (seek(world.pool(), suspect, blunt) for suspect in guilty)
    assert other.probe[3] > one.probe[3] + 0.1 and one.probe[-1] > 0.9 and other.probe[-1] > 0.9


def test_the_patch_was_never_shown_and_works_like_the_adversarys(world: World) -> None:
    suspect = world.suspect(0, world.poisoned["plain"])
    pool = world.pool("plain")
    patch = seek(pool, suspect, SEARCH).patches[0]
    fresh = halves(suspect.images)[1]
    ours = pool.predict(suspect.weights, stamp(fresh, patch), suspect)
    theirs = pool.predict(suspect.weights, world.stamp(fresh), suspect)
    assert (ours == TARGET).float().mean() > 0.9 and (theirs == TARGET).float().mean() > 0.9


def test_a_payload_split_over_two_models_is_seen_in_the_merge_alone(world: World) -> None:
    """Each half lies below the limit, their sum does not; leaving either out disarms it."""
    halves_of = {name: (0.5 * (world.poisoned["interpolated"][name] - world.experts[0][name])) for name in world.base}
    first = {name: world.experts[0][name] + halves_of[name] for name in world.base}
    second = {name: world.experts[1][name] + halves_of[name] for name in world.base}
    pool = Pool(world.pool().encoder, world.base, (world.suspect(0, first), world.suspect(1, second), world.suspect(2)))
    patch = seek(world.pool("interpolated"), world.suspect(0, world.poisoned["interpolated"]), SEARCH).patches[0]
    blame = leave_out(pool, merge_weights(make("task_arithmetic", coefficient=0.6)), [(pool.suspects[0], patch)])[0]
    drops = {names[0]: drop for names, drop in blame.drops}
    assert min(drops["expert0"], drops["expert1"]) > drops["expert2"] + 0.1
    pairs = leave_out(pool, MERGE, [(pool.suspects[0], patch)], together=2)[0]
    assert len(pairs.drops) == 3 and {len(names) for names, _ in pairs.drops} == {2}


def _statistics(world: World, experts):
    stream = ((name, world.base[name], [expert[name] for expert in experts]) for name in world.base)
    return judge_task_vectors([f"e{i}" for i in range(len(experts))], measure(stream, len(experts)))


def test_a_rescaled_task_vector_is_an_outlier_and_honest_ones_are_not(world: World) -> None:
    honest = [*world.experts]
    assert _statistics(world, honest) == ()
    found = _statistics(world, [*honest[:3], along(world.base, world.experts[3], 3.5)])
    assert [(one.rule, one.model) for one in found] == [("MB7201", "e3")] and found[0].severity == "info"
    assert _statistics(world, honest[:3]) == ()


def test_a_task_vector_of_rank_one_is_an_outlier(world: World) -> None:
    flat = {}
    for name, tensor in world.base.items():
        step = world.experts[3][name] - tensor
        if tensor.ndim == 2:
            u, s, v = torch.linalg.svd(step, full_matrices=False)
            step = s.square().sum().sqrt() * u[:, :1] @ v[:1]
        flat[name] = tensor + step
    assert "MB7204" in {one.rule for one in _statistics(world, [*world.experts[:3], flat])}


def test_natural_patches_of_the_base_are_no_finding(world: World) -> None:
    """One class of one honest expert is forced by a patch in nine images of ten, in the base as well."""
    pool, suspect = world.pool(), world.suspect(2)
    shown, held_out = halves(suspect.images)
    natural = invert(lambda images: pool.logits(suspect.weights, images, suspect), shown, held_out, 4, SEARCH)
    assert max(patch.share for patch in natural) > 0.8
    assert seek(pool, suspect, SEARCH).excess < 0.5


def test_a_wider_patch_is_sought_where_one_is_asked_for(world: World) -> None:
    wide = dataclasses.replace(SEARCH, side_frac=0.5, steps=2, refine_steps=2)
    assert seek(world.pool(), world.suspect(0), wide).patches[0].pattern.shape[-1] == 8
