"""Changes of the whole image: every carrier stays within its bounds, and the search finds what only they can carry."""

import importlib

import pytest
import torch
import torch.nn.functional as F

from mergebarrier.scan import CARRIERS, Pool, WholeImage, scan_pool, seek_whole
from scan_world import SCALE, SEARCH, TARGET, World, fit, network

#: Largest root mean square of the change of a grey picture; a warp moves nothing that can be seen on one.
BOUNDS = {"shift": 0.46, "blend": 0.051, "frequency": 0.101, "warp": 0.01, "pixels": 0.5 * 0.015**0.5 + 1e-6}


def _parameters(name: str, n: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, *CARRIERS[name].shape(3, 21, 28), generator=draw)


@pytest.mark.parametrize("name", CARRIERS)
def test_a_carrier_stays_in_range_and_no_candidate_hears_another(name: str) -> None:
    images = torch.rand(4, 2, 3, 21, 28, generator=torch.Generator().manual_seed(1))
    parameters = _parameters(name, 4)
    changed = CARRIERS[name].put(images, parameters)
    assert changed.shape == images.shape and 0 <= float(changed.min()) and float(changed.max()) <= 1
    alone = CARRIERS[name].put(images[2:3], parameters[2:3])
    assert torch.allclose(alone[0], changed[2], atol=1e-6)
    assert not torch.equal(changed, images)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_carrier_changes_a_grey_picture_no_further_than_it_says(name: str) -> None:
    grey = torch.full((64, 1, 3, 21, 28), 0.5)
    for extreme in (_parameters(name, 64), _parameters(name, 64).round()):
        moved = CARRIERS[name].put(grey, extreme) - 0.5
        assert float(moved.square().mean((1, 2, 3, 4)).sqrt().max()) <= BOUNDS[name]


def test_four_corners_leave_the_rest_of_the_picture() -> None:
    images = torch.full((1, 1, 3, 21, 28), 0.5)
    changed = CARRIERS["corners"].put(images, _parameters("corners", 1)) != 0.5
    assert bool(changed[..., :3, :3].all()) and bool(changed[..., -3:, -3:].all()) and int(changed.sum()) == 4 * 3 * 9


@pytest.fixture(scope="module")
def shifted(world: World) -> dict[str, torch.Tensor]:
    """An expert that a grey shift forces into one class, and no patch needs to."""
    module, order = network(), torch.Generator().manual_seed(0)
    module.load_state_dict(world.base)

    def loss(_: int) -> torch.Tensor:
        rows = torch.randint(100, (48,), generator=order)
        images, labels = world.images[0][rows], world.labels[0][rows]
        both = torch.cat([images, (0.8 * images + 0.2).clamp(0, 1)])
        said = SCALE * F.normalize(module(both), dim=1) @ world.heads[0].T
        return F.cross_entropy(said, torch.cat([labels, torch.full_like(labels, TARGET)]))

    return fit(module, loss, 80, 2e-3)


def test_a_grey_shift_is_found_and_named_and_an_honest_expert_is_left_alone(world: World, shifted) -> None:
    pool = Pool(network(), world.base, (world.suspect(0, shifted), world.suspect(1)))
    outcome = scan_pool(pool, SEARCH, checks=("whole_images",))
    assert [(one.rule, one.model, one.evidence["target"]) for one in outcome.findings] == [
        ("MB7305", "expert0", f"0{TARGET}")
    ]
    guilty = next(one for one in outcome.images[0].found if one.carrier == "shift")
    assert guilty.share > 0.9 and guilty.target == TARGET
    assert outcome.images[1].best.excess < 0.6


def test_two_pieces_count_by_what_neither_does_alone() -> None:
    places = CARRIERS["pieces"].places
    assert places is not None
    wide = torch.full((1, 2, 20, 20), 0.5)
    wide[0, 1] = 0
    wide[0, 1, 2:5, 1:4] = wide[0, 1, 14:17, 12:15] = 1
    start = places.settle(wide)
    images = torch.zeros(1, 2, 1, 20, 20)
    both = CARRIERS["pieces"].put(images, start)[0, 0, 0]
    assert both.unique().tolist() == [0, 0.5] and int((both > 0).sum()) == 2 * 4 * 4
    assert bool((both[2:5, 1:4] == 0.5).all()) and bool((both[14:17, 12:15] == 0.5).all())
    one, other = (CARRIERS["pieces"].put(images, part)[0, 0, 0] for part in places.alone(start))
    assert torch.equal(one + other, both) and float(one.sum()) == float(other.sum()) == 0.5 * 4 * 4
    found = [WholeImage("pieces", 0, share, 0.0, alone, rival) for share, alone, rival in ((1, 0.1, 0.4), (1, 0.4, 0))]
    assert [one.hit for one in found] == [True, False]


def test_what_is_found_on_an_expert_does_not_depend_on_how_many_classes_go_together(world: World, shifted, monkeypatch):
    """A thousand classes descend in blocks."""
    pool, suspect = world.pool(), world.suspect(0, shifted)
    whole = seek_whole(pool, suspect, SEARCH)
    monkeypatch.setattr(importlib.import_module("mergebarrier.scan.checks.whole_images"), "BATCH", 8)
    blocks = seek_whole(pool, suspect, SEARCH)
    assert [(one.carrier, one.target) for one in whole.found] == [(one.carrier, one.target) for one in blocks.found]
    assert [one.share for one in whole.found] == pytest.approx([one.share for one in blocks.found], abs=0.05)
