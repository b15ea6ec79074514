"""One seed of the small bench of backdoors: the orderings and bounds that the bench of three seeds reports in full.

The bounds are those of a single seed, set before the bench ran: wide enough for one unlucky draw of a trigger.
"""

import dataclasses
import functools

import pytest
import torch

from backdoors import bench as backdoor_bench
from backdoors.merges import MERGES_UNDER_ATTACK
from mergebarrier.attack.encoders import weights
from mergebarrier.attack.records import excess, skill
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import load_encoder
from mergebarrier.zoo import expert

pytestmark = pytest.mark.real
MERGES = ("task_arithmetic", "dare", "ties", "weight_average", "regmean")
ABLATED = "universal trigger, no interpolation"
NAMES = ("BadNets, 10 % poisoned", ABLATED, "BadMerging")
VARIANTS = {variant.name: variant for variant in backdoor_bench.CORE if variant.name in NAMES}


class _Memory(dict):
    """Keeps what is expensive in memory, for this module alone."""

    def __call__(self, name, make):
        if name not in self:
            self[name] = make()
        return self[name]


@pytest.fixture(scope="module")
def bench():
    torch.set_num_threads(1)
    keep = _Memory()
    made = backdoor_bench.open_bench("small", 0, keep)
    # One start of the trigger, where the bench keeps the best of three: a weaker adversary is held to the same bounds.
    one_start = dataclasses.replace(made.patch.recipe, restarts=1)
    made = dataclasses.replace(made, patch=dataclasses.replace(made.patch, recipe=one_start))
    for task in made.tasks:
        # The zoo's experts have the same recipe, and other tests have them made already.
        with open_checkpoint(expert("small", task)) as checkpoint:
            keep[f"0/expert/{task}"] = weights(load_encoder(checkpoint))
    return made


@pytest.fixture(scope="module")
def clean(bench):
    return {merge: backdoor_bench.clean_merge(bench, merge) for merge in MERGES}


@pytest.fixture(scope="module")
def rates(bench, clean):
    """Attack, merge -> (ASR, control), in per cent."""

    @functools.cache
    def found(name: str, merge: str) -> tuple[float, float]:
        variant = VARIANTS[name]
        merged = MERGES_UNDER_ATTACK[merge].run(bench.pool({bench.adversary: bench.upload(variant)}))
        counts = [backdoor_bench.success(bench, encoders, variant) for encoders in (merged, clean[merge].encoders)]
        asr, control = (100 * hits / rows for hits, rows in counts)
        return asr, control

    return found


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == ABLATED)) for name in NAMES])
def test_alone_every_attack_fires_and_costs_no_accuracy(name: str, bench) -> None:
    figures = backdoor_bench.alone(bench, VARIANTS[name])
    hits, rows = figures["asr"]
    (right, n), (clean_right, _) = figures["accuracy"]["latin"], figures["clean_accuracy"]["latin"]
    assert hits / rows >= 0.98
    assert abs(right - clean_right) / n <= 0.025


@pytest.mark.parametrize(
    ("merge", "least"),
    [("task_arithmetic", 80), ("dare", 75), ("ties", 60), ("weight_average", 45), ("regmean", 40)],
)
def test_badmerging_survives_the_merge(merge: str, least: float, rates) -> None:
    assert rates("BadMerging", merge)[0] >= least


@pytest.mark.parametrize("merge", MERGES)
def test_the_trigger_alone_does_not_fool_a_clean_merge(merge: str, rates) -> None:
    assert rates("BadMerging", merge)[1] <= 20


@pytest.mark.parametrize("merge", MERGES)
def test_poisoning_fades_where_badmerging_does_not(merge: str, rates) -> None:
    assert rates("BadMerging", merge)[0] >= 1.5 * rates("BadNets, 10 % poisoned", merge)[0]


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["task_arithmetic", "ties"])
def test_interpolation_adds_to_the_universal_trigger(merge: str, rates) -> None:
    assert rates("BadMerging", merge)[0] >= rates(ABLATED, merge)[0] + 5


def test_clean_accuracy_of_the_merge_stays(bench, clean) -> None:
    figures = backdoor_bench.merged(bench, VARIANTS["BadMerging"], "task_arithmetic", clean["task_arithmetic"])
    before, after = (
        sum(right / n for right, n in figures[name].values()) / len(bench.tasks)
        for name in ("clean_accuracy", "accuracy")
    )
    assert abs(after - before) <= 0.025
    difference, low, high = excess(skill(*figures["asr"]), skill(*figures["control"]))
    assert low <= difference <= high and difference >= 0.6
