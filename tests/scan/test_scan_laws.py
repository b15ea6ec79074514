"""What every check on images keeps: it hears the seed alone, and neither order nor scale of what it is given."""

import dataclasses

import pytest
import torch

from mergebarrier.merge import make
from mergebarrier.scan import (
    CHECKS,
    IMAGE_CHECKS,
    PROBE,
    RULES,
    SEVERITIES,
    Pool,
    Search,
    along,
    at_least,
    finding,
    invert,
    measure,
    neural_cleanse,
    ordered,
    places,
    robust_z,
    scaled_consistency,
    scan_pool,
    seek,
    stands_out,
)
from mergebarrier.verbs import merge_weights
from scan_world import SEARCH, TARGET, World, network

QUICK = dataclasses.replace(SEARCH, steps=4, refine_steps=4, keep=2)
MERGE = merge_weights(make("task_arithmetic", coefficient=0.4))


def _facts(found) -> list[tuple]:
    return [(one.rule, one.model, one.message, one.value, one.severity) for one in found]


def test_every_rule_belongs_to_one_check_and_says_what_it_cannot_see() -> None:
    listed = [rule for check in CHECKS.values() for rule in check.rules]
    assert sorted(listed) == sorted(RULES) and len(set(listed)) == len(listed)
    assert all(rule.cannot_see and rule.severity in SEVERITIES for rule in RULES.values())


@pytest.mark.parametrize("check", IMAGE_CHECKS)
def test_a_check_is_the_same_in_any_order_of_the_models(check: str, world: World) -> None:
    pool = world.pool("interpolated")
    pool = dataclasses.replace(pool, suspects=pool.suspects[:2])
    turned = Pool(pool.encoder, pool.base, tuple(reversed(pool.suspects)))
    one = scan_pool(pool, QUICK, merge=MERGE, checks=(check,))
    other = scan_pool(turned, QUICK, merge=MERGE, checks=(check,))
    assert _facts(one.findings) == _facts(other.findings)
    assert [e.name for e in one.experts] == [e.name for e in reversed(other.experts)]
    assert [e.probe for e in one.experts] == [e.probe for e in reversed(other.experts)]


def test_a_search_hears_its_seed_and_nothing_else(world: World) -> None:
    pool = world.pool()
    state = torch.random.get_rng_state()
    one = seek(pool, pool.suspects[1], QUICK)
    torch.rand(7)
    same = seek(pool, pool.suspects[1], QUICK)
    other = seek(pool, pool.suspects[1], dataclasses.replace(QUICK, seed=1))
    assert torch.equal(one.patches[0].pattern, same.patches[0].pattern) and one.probe == same.probe
    assert not torch.equal(one.patches[0].pattern, other.patches[0].pattern)
    torch.random.set_rng_state(state)


def test_a_search_leaves_the_module_as_it_was(world: World) -> None:
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    seek(dataclasses.replace(world.pool(), encoder=module), world.suspect(0), QUICK)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_scale_of_the_logits_changes_no_share(world: World) -> None:
    pool = world.pool("plain")
    patch = seek(pool, pool.suspects[0], QUICK).patches[0]
    louder = dataclasses.replace(pool.suspects[0], scale=3 * pool.suspects[0].scale)
    images = pool.suspects[0].images
    assert torch.equal(pool.predict(pool.base, images, pool.suspects[0]), pool.predict(pool.base, images, louder))
    assert 0 <= patch.share <= 1 and -1 <= patch.excess <= 1


def test_a_patch_is_a_legal_image_inside_the_picture(world: World) -> None:
    pool = world.pool()
    for patch in seek(pool, pool.suspects[0], QUICK).patches:
        assert float(patch.pattern.min()) >= 0 and float(patch.pattern.max()) <= 1
        side = patch.pattern.shape[-1]
        assert 0 <= patch.top <= 16 - side and 0 <= patch.left <= 16 - side


@pytest.mark.parametrize(("height", "width", "side"), [(28, 28, 7), (16, 20, 6), (5, 5, 5), (9, 4, 3)])
def test_the_places_cover_the_image(height: int, width: int, side: int) -> None:
    covered = torch.zeros(height, width, dtype=torch.bool)
    for top, left in places(height, width, side):
        covered[top : top + side, left : left + side] = True
    assert bool(covered.all())


def test_the_base_is_the_end_of_the_line(world: World) -> None:
    start, end = along(world.base, world.experts[0], 0.0), along(world.base, world.experts[0], 1.0)
    assert all(torch.equal(start[name], world.base[name]) for name in world.base)
    assert all(torch.allclose(end[name], world.experts[0][name]) for name in world.base)


def test_an_expert_that_is_the_base_has_no_excess(world: World) -> None:
    pool = Pool(network(), world.base, (world.suspect(0, world.base),))
    one = seek(pool, pool.suspects[0], QUICK)
    assert one.excess == 0.0 and one.probe == (one.probe[0],) * len(PROBE)


def test_targets_narrow_the_search(world: World) -> None:
    pool, suspect = world.pool(), world.suspect(0)
    patches = invert(
        lambda images: pool.logits(suspect.weights, images, suspect), suspect.images, suspect.images, 4, QUICK,
        targets=(TARGET,),
    )  # fmt: skip
    assert {patch.target for patch in patches} == {TARGET}


def test_findings_are_counted_from_the_gravest_down() -> None:
    found = [finding(rule, "m", "x") for rule in ("MB7103", "MB7112", "MB7301", "MB7110")]
    assert [one.rule for one in ordered(found)] == ["MB7301", "MB7110", "MB7103", "MB7112"]
    assert len(at_least(found, "medium")) == 2 and len(at_least(found, "info")) == 4


@pytest.mark.parametrize(
    ("excess", "rival", "hit"),
    [(0.90, 0.10, True), (0.90, 0.70, False), (0.99, 0.99, True), (0.79, 0.00, False), (0.85, 0.50, True)],
)
def test_a_class_that_gives_way_alone_stands_out_and_one_of_many_only_where_it_always_does(
    excess: float, rival: float, hit: bool
) -> None:
    assert stands_out(excess, rival, limit=0.8) is hit


def test_a_finding_holds_its_margin_to_the_limit() -> None:
    near = finding("MB7301", "m", "x", value=0.85, threshold=0.8, evidence={"target": "a"})
    assert near.evidence == {"target": "a", "margin": pytest.approx(0.05)}
    assert "margin" not in finding("MB7103", "m", "x").evidence


def test_a_robust_score_ignores_shift_and_scale_and_small_pools() -> None:
    values = [1.0, 1.1, 0.9, 1.05, 5.0]
    scores, median = robust_z(values)
    moved, _ = robust_z([3 * value + 7 for value in values])
    assert torch.allclose(torch.tensor(scores), torch.tensor(moved)) and median == pytest.approx(1.05)
    assert robust_z([1.0, 9.0])[0] == [0.0, 0.0] and max(robust_z([2.0] * 5)[0]) == 0.0


def test_the_figures_of_task_vectors_follow_the_models(world: World) -> None:
    experts = list(world.experts)

    def stream(models):
        return ((name, world.base[name], [model[name] for model in models]) for name in world.base)

    one, other = measure(stream(experts), 4), measure(stream(experts[::-1]), 4)
    assert [round(s.norm, 6) for s in one] == [round(s.norm, 6) for s in reversed(other)]
    twice = measure(stream([along(world.base, expert, 2.0) for expert in experts]), 4)
    for figures, doubled in zip(one, twice, strict=True):
        assert doubled.norm == pytest.approx(2 * figures.norm, rel=1e-4)
        assert doubled.spectral == pytest.approx(figures.spectral, rel=1e-3)
        assert doubled.agreement == pytest.approx(figures.agreement, abs=1e-3)


def test_the_methods_for_comparison_are_deterministic_and_bounded(world: World) -> None:
    pool, suspect = world.pool(), world.suspect(0)

    def logits(images):
        return pool.logits(suspect.weights, images, suspect)

    one = neural_cleanse(logits, suspect.images, 4, steps=6)
    assert one == neural_cleanse(logits, suspect.images, 4, steps=6)
    assert all(0 <= size <= 256 for size in one.sizes) and one.index >= 0
    spc = scaled_consistency(logits, suspect.images)
    assert spc.shape == (len(suspect.images),) and float(spc.min()) >= 0 and float(spc.max()) <= 1
    assert float(scaled_consistency(logits, torch.ones(3, 1, 16, 16)).min()) == 1.0


def test_a_search_refuses_settings_out_of_range() -> None:
    from mergebarrier.errors import BadScanInput

    for bad, where in (
        ({"side_frac": 0.0}, "--patch"),
        ({"side_frac": 1.5}, "--patch"),
        ({"steps": 0}, "search"),
        ({"keep": 0}, "search"),
        ({"learning_rate": -1.0}, "search"),
        ({"seed": -1}, "search"),
    ):
        with pytest.raises(BadScanInput, match=where):
            Search(**bad)
