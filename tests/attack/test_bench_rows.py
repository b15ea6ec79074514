"""The bench in memory: every merge gives every task an encoder, every figure is a count beside its control."""

import pytest
import torch

import tiny_bench
from backdoors import bench
from backdoors.merges import MERGES_UNDER_ATTACK, Pool, task_arithmetic
from mergebarrier.attack.encoders import (
    TriggerPatch,
    clean_accuracy,
    merge_weights,
    scaled,
    weights,
    with_weights,
)
from mergebarrier.attack.records import excess, skill
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadMergeParameter
from mergebarrier.evaluate import load_encoder, read_image_task
from mergebarrier.merge import make
from mergebarrier.poison import UniversalRecipe


class _Counting(dict):
    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def __call__(self, name, make):
        if name not in self:
            self.made.append(name)
            self[name] = make()
        return self[name]


@pytest.fixture(scope="module")
def world(tiny):
    with open_checkpoint(tiny.base) as checkpoint:
        base = load_encoder(checkpoint).requires_grad_(False)
    tasks = {name: read_image_task(path) for name, path in (("bright", tiny.task), ("dark", tiny.other))}
    names = (("x", "y", "z"), torch.nn.functional.normalize(torch.eye(3, 12), dim=1))
    patch = TriggerPatch(6, recipe=UniversalRecipe(steps=30, restarts=1))
    return bench.Bench(base, tasks, "bright", 1, patch, tiny_bench.RECIPE, 0, names, _Counting())


BADMERGING = bench.Variant("BadMerging", "badmerging")


@pytest.mark.parametrize("merge", MERGES_UNDER_ATTACK)
def test_every_merge_gives_every_task_an_encoder_that_works(merge: str, world) -> None:
    encoders = MERGES_UNDER_ATTACK[merge].run(world.pool({}))
    assert list(encoders) == list(world.tasks)
    for task, encoder in encoders.items():
        assert clean_accuracy(encoder, world.tasks[task]).rate > 0.3, "above one in four"


def test_a_row_holds_counts_beside_their_control(world) -> None:
    clean = bench.clean_merge(world, "task_arithmetic")
    row = bench.merged(world, BADMERGING, "task_arithmetic", clean)
    assert row["asr"][1] == row["control"][1] == 90 and set(row["accuracy"]) == {"bright", "dark"}
    assert row["asr"][0] > row["control"][0]
    alone = bench.alone(world, BADMERGING)
    assert alone["asr"][0] > 60 and alone["base"][1] == 90 and alone["area_pct"] == pytest.approx(100 * 36 / 784)


def test_what_is_expensive_is_made_once(world) -> None:
    for _ in range(2):
        world.upload(BADMERGING)
        world.trigger(BADMERGING)
        world.expert("dark")
    assert len(world.keep.made) == len(set(world.keep.made))


def test_off_task_is_measured_on_the_victims_head(world) -> None:
    variant = bench.Variant("off", "badmerging", {"interp_low": 0.05}, victim="dark")
    row = bench.alone(world, variant)
    assert row["asr"][1] == 90 and set(row["accuracy"]) == {"bright"}
    shadow = world.off_task(variant)
    assert torch.equal(shadow.head[0], world.tasks["dark"].head[1]) and len(shadow.head) == 4
    train = (world.tasks["dark"].train.images.float() / 255).flatten(1)
    assert all(float((train - one.flatten()).abs().sum(1).min()) == 0.0 for one in shadow.references)


def test_two_adversaries_have_a_row_each(world) -> None:
    pair = (BADMERGING, bench.Variant("BadMerging", "badmerging", adversary="dark"))
    clean = bench.clean_merge(world, "weight_average")
    rows = bench.several(world, pair, "weight_average", clean)
    assert set(rows) == {"bright", "dark"} and all("control" in row for row in rows.values())


def test_coefficient_0_is_the_base(world) -> None:
    row = bench.at_coefficient(world, BADMERGING, 0.0)
    assert row["asr"] == row["control"] == bench.alone(world, BADMERGING)["base"]


def test_pools_grow_in_the_order_of_the_bench(world) -> None:
    assert world.first(1, "dark") == ["dark"] and world.first(2, "dark") == ["bright", "dark"]


def test_one_flat_vector_differs_from_tensor_by_tensor_only_where_a_cut_is_made(world) -> None:
    base, experts = weights(world.base), [world.expert(task) for task in world.tasks]
    sums = make("task_arithmetic", coefficient=0.3)
    one, two = (merge_weights(sums, base, experts, whole=whole) for whole in (True, False))
    assert all(torch.allclose(one[name], two[name], atol=1e-7) for name in base)
    cut = make("ties", density=0.2, reduce="sum", coefficient=0.3)
    one, two = (merge_weights(cut, base, experts, whole=whole) for whole in (True, False))
    kept = [sum(int((merged[name] != base[name]).sum()) for name in base) for merged in (one, two)]
    assert any(not torch.equal(one[name], two[name]) for name in base) and min(kept) > 0


def test_a_pool_of_one_is_no_merge(world) -> None:
    with pytest.raises(BadMergeParameter, match="at least two"):
        task_arithmetic(Pool(world.base, world.tasks, {"bright": world.expert("bright")}, 0), 0.3)


def test_weights_go_in_and_come_out_unchanged(world) -> None:
    base, expert = weights(world.base), world.expert("bright")
    again = weights(with_weights(world.base, scaled(base, expert, 1.0)))
    assert all(torch.allclose(again[name], expert[name], atol=1e-6) for name in expert)


def test_an_excess_is_the_difference_with_newcombes_interval() -> None:
    # Newcombe (1998), table II, row a: 56/70 - 48/80, method 10.
    difference, low, high = excess(skill(56, 70), skill(48, 80))
    assert (difference, low, high) == (
        pytest.approx(0.2),
        pytest.approx(0.0524, abs=2e-4),
        pytest.approx(0.3339, abs=2e-4),
    )
    assert excess(skill(5, 10), skill(5, 10))[0] == 0.0
