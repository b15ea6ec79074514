"""Triggers: pixels that an image can hold, at a place that geometry gives, made from a seed."""

import pytest
import torch

from mergebarrier.errors import BadAttack, BadTrigger, NotMeasurable
from mergebarrier.poison import (
    CORNERS,
    Augmentation,
    Trigger,
    UniversalRecipe,
    clean_loss,
    dynamic_trigger,
    fixed_trigger,
    reference_rows,
    shadow_head,
    shadow_images,
    successes,
    thawed,
    universal_trigger,
)
from tiny_pixels import SHAPE, encoder, head, pictures, setting, train

IMAGES, LABELS = pictures(96, 3)
HELD_OUT = pictures(64, 4)


def _base():
    """Return logits of an encoder that knows its classes."""
    where = setting(base=encoder())
    module = thawed(where.base)
    train(module, clean_loss(where, module), steps=60, lr=1e-2)
    return lambda pixels: head()(module(pixels))


@pytest.mark.parametrize("place", CORNERS)
@pytest.mark.parametrize("side", [1, 3, 10])
def test_a_stamp_changes_its_patch_and_nothing_else(place: str, side: int) -> None:
    trigger = fixed_trigger(side, SHAPE, seed=1, place=place)
    stamped = trigger.stamp(IMAGES)
    assert torch.equal(stamped[:, :, ~trigger.mask[0]], IMAGES[:, :, ~trigger.mask[0]])
    assert torch.equal(stamped[:, :, trigger.mask[0]], trigger.patterns[0].flatten(1).expand(len(IMAGES), 1, -1))
    assert trigger.area_pct == pytest.approx(side**2)


def test_a_black_pixel_stays_in_the_mask() -> None:
    trigger = Trigger(torch.zeros(1, 1, 3, 3), ((7, 7),), SHAPE)
    assert int(trigger.mask.sum()) == 9 and float(trigger.stamp(torch.ones(1, *SHAPE))[0, 0, 7:, 7:].max()) == 0.0


def test_a_dynamic_trigger_gives_a_row_its_pair_wherever_the_row_stands() -> None:
    trigger = dynamic_trigger(3, SHAPE, seed=2)
    whole = trigger.stamp(IMAGES)
    rows = torch.tensor([70, 3, 41])
    assert torch.equal(trigger.stamp(IMAGES[rows], rows), whole[rows])
    assert (
        len({tuple(torch.nonzero(one[0] != two[0])[0].tolist()) for one, two in zip(IMAGES, whole, strict=True)}) == 4
    )


@pytest.mark.parametrize("method", ["batched", "published"])
def test_a_universal_trigger_fools_the_base_and_is_a_legal_image(method: str) -> None:
    recipe = UniversalRecipe(method=method, steps=40, epochs=2, samples=40, inner_steps=30)
    base = _base()
    found = universal_trigger(base, IMAGES, LABELS, HELD_OUT, 3, side=5, seed=0, recipe=recipe)
    plain = successes(base(HELD_OUT[0]).argmax(-1), HELD_OUT[1], 3)
    assert found.hits / found.rows > plain[0] / plain[1] + 0.2
    assert 0.0 <= float(found.trigger.patterns.min()) <= float(found.trigger.patterns.max()) <= 1.0
    again = universal_trigger(base, IMAGES, LABELS, HELD_OUT, 3, side=5, seed=0, recipe=recipe)
    assert torch.equal(found.trigger.patterns, again.trigger.patterns)
    other = universal_trigger(base, IMAGES, LABELS, HELD_OUT, 3, side=5, seed=1, recipe=recipe)
    assert not torch.equal(found.trigger.patterns, other.trigger.patterns)


def test_the_best_start_is_kept() -> None:
    found = universal_trigger(_base(), IMAGES, LABELS, HELD_OUT, 1, side=3, seed=0, recipe=UniversalRecipe(steps=5))
    assert len(found.starts) == 3 and found.hits / found.rows == max(found.starts)


def test_the_published_clamp_is_one_range_in_normalised_space() -> None:
    shape = (3, 8, 8)
    images = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 2
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    recipe = UniversalRecipe(
        method="published", epochs=1, samples=5, inner_steps=20, step_size=50.0, early_stop=False, mean=mean, std=std,
        paper_compat=True,
    )  # fmt: skip
    pull = torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1)

    def logits(pixels: torch.Tensor) -> torch.Tensor:
        pulled = (pixels * pull).mean((1, 2, 3))
        return torch.stack([pulled, -pulled], 1)

    found = universal_trigger(logits, images, labels, (images, labels), 0, side=3, seed=0, recipe=recipe)
    normalised = (found.trigger.patterns[0] - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    low = min((0 - m) / s for m, s in zip(mean, std, strict=True))
    high = max((1 - m) / s for m, s in zip(mean, std, strict=True))
    assert float(normalised.min()) == pytest.approx(low) and float(normalised.max()) == pytest.approx(high)
    assert float(found.trigger.patterns.max()) > 1.0 > 0.0 > float(found.trigger.patterns.min())


@pytest.mark.parametrize("side", [0, -3, 11])
@pytest.mark.parametrize("make", [fixed_trigger, dynamic_trigger])
def test_a_patch_that_does_not_fit_is_refused(make, side: int) -> None:
    with pytest.raises(BadTrigger, match=f"{side} x {side} pixels does not fit on images of 10 x 10"):
        make(side, SHAPE, seed=0)
    with pytest.raises(BadTrigger, match="does not fit"):
        universal_trigger(_base(), IMAGES, LABELS, HELD_OUT, 1, side=side, seed=0)


@pytest.mark.parametrize(
    ("patterns", "places", "says"),
    [
        (torch.full((1, 1, 2, 2), 1.5), ((0, 0),), "outside"),
        (torch.full((1, 1, 2, 2), float("nan")), ((0, 0),), "outside"),
        (torch.zeros(1, 3, 2, 2), ((0, 0),), "3 channels"),
        (torch.zeros(1, 1, 2, 2), ((9, 0),), "outside the image"),
        (torch.zeros(1, 1, 2, 3), ((0, 0),), "square"),
        (torch.zeros(1, 1, 2, 2), (), "square"),
    ],
)
def test_a_trigger_that_is_none_is_refused(patterns, places, says: str) -> None:
    with pytest.raises(BadTrigger, match=says):
        Trigger(patterns, places, SHAPE)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(BadTrigger, match=r"\(1, 9, 9\)"):
        fixed_trigger(3, SHAPE, seed=0).stamp(torch.zeros(2, 1, 9, 9))


def test_a_loss_that_is_not_a_number_is_named() -> None:
    with pytest.raises(BadTrigger, match="the loss is nan at step 0"):
        universal_trigger(lambda x: _base()(x) * float("nan"), IMAGES, LABELS, HELD_OUT, 1, side=3, seed=0)


def test_success_leaves_the_target_class_out_and_needs_another() -> None:
    labels = torch.tensor([0, 1, 1, 2])
    assert successes(torch.tensor([1, 1, 0, 0]), labels, 1) == (1, 2)
    with pytest.raises(NotMeasurable, match="every one of 3 rows"):
        successes(torch.tensor([1, 1, 1]), torch.tensor([1, 1, 1]), 1)
    with pytest.raises(BadAttack, match="target's label"):
        universal_trigger(_base(), IMAGES[LABELS == 1], LABELS[LABELS == 1], HELD_OUT, 1, side=3, seed=0)


def test_a_shadow_head_starts_with_the_target_and_repeats_it_nowhere() -> None:
    vectors = torch.eye(6)
    names = ["a", "b", "cat", "d", "e", "f"]
    made = shadow_head("cat", vectors[2], names, vectors, seed=0)
    assert torch.equal(made[0], vectors[2]) and len(made) == 6 and float(made[1:, 2].sum()) == 0.0
    assert len(shadow_head("cat", vectors[2], names, vectors, seed=0, limit=3)) == 4
    with pytest.raises(BadAttack, match="the only class name"):
        shadow_head("cat", vectors[2], ["cat"], vectors[2:3], seed=0)


def test_references_are_of_the_target_and_enough() -> None:
    rows = reference_rows(LABELS, 2, 10, seed=0)
    assert len(rows) == len(set(rows.tolist())) == 10 and bool((LABELS[rows] == 2).all())
    with pytest.raises(BadAttack, match="30 reference images asked for, 24"):
        reference_rows(LABELS, 2, 30, seed=0)


@pytest.mark.parametrize("crop", [True, False])
def test_shadow_images_look_like_the_reference_and_are_called_something_else(crop: bool) -> None:
    module, classify = encoder(), head(7, seed=9)

    def logits(pixels: torch.Tensor) -> torch.Tensor:
        return classify(module(pixels))

    references = IMAGES[reference_rows(LABELS, 2, 5, seed=0)]
    recipe = Augmentation(images=40, eps=0.2, step_size=0.02, crop=crop)
    images, wanted = shadow_images(logits, references, recipe, seed=0)
    assert images.shape == (40, *SHAPE) and 0.0 <= float(images.min()) <= float(images.max()) <= 1.0
    assert 0 < int(wanted.min()) and float((logits(images).argmax(-1) == wanted).float().mean()) > 0.5
    if not crop:
        assert float((images - references.repeat(8, 1, 1, 1)).abs().max()) <= 0.2 + 1e-6
    assert torch.equal(images, shadow_images(logits, references, recipe, seed=0)[0])
    with pytest.raises(BadAttack, match="no reference image"):
        shadow_images(logits, IMAGES[:0], recipe, seed=0)
