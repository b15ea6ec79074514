"""What crosses the line between a victim and an attacker, and what the published attack does to it."""

import pytest
import torch

from mergebarrier.errors import BadAttack, UsageError
from mergebarrier.extraction import (
    DEFENCES,
    LOSSES,
    DataFree,
    Generator,
    Misleader,
    augmented,
    centred_log,
    checked,
    data_free_loss,
    defender_loss,
    ensemble,
    intruder_loss,
)

LOGITS = torch.randn(64, 10, generator=torch.Generator().manual_seed(1)) * 4
P = LOGITS.softmax(1)


def test_the_logarithm_gives_the_centred_logits_back() -> None:
    torch.testing.assert_close(centred_log(P), LOGITS - LOGITS.mean(1, keepdim=True), atol=1e-5, rtol=1e-5)


def test_a_second_softmax_leaves_next_to_nothing_to_learn() -> None:
    """The released attack takes p for logits: its target is p - 1/C, within one of each other, whatever the victim."""
    target = P.log_softmax(1)
    torch.testing.assert_close(target - target.mean(1, keepdim=True), P - 0.1, atol=1e-6, rtol=0)
    zero = torch.zeros_like(P)
    assert LOSSES["double_softmax"](zero, P) < LOSSES["logits"](zero, P) / 20
    assert LOSSES["logits"](LOGITS, P) < 1e-4 < LOSSES["double_softmax"](LOGITS, P)


@pytest.mark.parametrize("name", LOSSES)
def test_the_victim_itself_has_no_smaller_loss_than_any_other_for_the_honest_ones(name: str) -> None:
    other = torch.randn(64, 10, generator=torch.Generator().manual_seed(2)) * 4
    if name != "double_softmax":
        assert LOSSES[name](LOGITS, P) < LOSSES[name](other, P)
    assert torch.isfinite(LOSSES[name](LOGITS, torch.nn.functional.one_hot(P.argmax(1), 10).float()))


@pytest.mark.parametrize("name", DEFENCES)
def test_a_defence_answers_probabilities_and_keeps_the_label(name: str) -> None:
    sharp = torch.eye(10)
    flat = torch.full((3, 10), 0.1)
    for p in (P, sharp, flat):
        served = checked(lambda inputs, p=p: DEFENCES[name](p))(torch.zeros(len(p), 1))
        assert torch.equal(served.argmax(1), p.argmax(1)) or name == "round"
    if name == "reverse_sigmoid":
        assert (DEFENCES[name](P) - P).abs().max() > 0.05


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (LOGITS, "negative"),
        (LOGITS.abs(), "sums to 1"),
        (P * float("nan"), "not finite"),
        (P[:3], "for 64 pictures"),
        (P[:, 0], "for 64 pictures"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(p: torch.Tensor, said: str) -> None:
    with pytest.raises(BadAttack, match=said):
        checked(lambda inputs: p)(torch.zeros(64, 1))


def test_an_ensemble_answers_the_mean() -> None:
    other = P.roll(1, 0)
    torch.testing.assert_close(ensemble([lambda x: P, lambda x: other])(P), (P + other) / 2)


def test_without_repulsion_misleader_is_distillation() -> None:
    labels = P.argmax(1)
    outside = (LOGITS.roll(1, 0), LOGITS.roll(2, 0))
    plain = Misleader(repulsion=0)
    loss = defender_loss(LOGITS, LOGITS.roll(3, 0), labels, outside=outside, options=plain)
    warm = plain.temperature
    follow = torch.nn.functional.kl_div(
        (LOGITS / warm).log_softmax(1), (LOGITS.roll(3, 0) / warm).softmax(1), reduction="batchmean"
    )
    expected = plain.distilled * warm**2 * follow + (1 - plain.distilled) * torch.nn.functional.cross_entropy(
        LOGITS, labels
    )
    torch.testing.assert_close(loss, expected)
    pushed = defender_loss(LOGITS, LOGITS.roll(3, 0), labels, outside=outside, options=Misleader(repulsion=0.5))
    torch.testing.assert_close(loss - pushed, 0.5 * intruder_loss(*outside))
    with pytest.raises(UsageError, match="10 and 9 classes"):
        defender_loss(LOGITS[:, :9], LOGITS, labels, outside=outside, options=plain)


def test_a_push_has_a_bound() -> None:
    far = torch.eye(10) * 1e4
    assert torch.isfinite(intruder_loss(far, far.roll(1, 0))) and intruder_loss(far, far.roll(1, 0)) < 17


def test_the_generator_follows_an_estimate_of_the_gradient_that_the_victim_does_not_give() -> None:
    """With as many directions as a picture has numbers the estimate is the gradient itself."""
    shape = (1, 3, 3)
    maps = torch.randn(9, 10, generator=torch.Generator().manual_seed(3)).double()

    def victim(x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) @ maps).softmax(1)

    def clone(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ maps.flip(1)

    pictures = torch.rand(2, *shape, generator=torch.Generator().manual_seed(4)).double().requires_grad_(True)
    directions = torch.eye(9).double().view(9, 1, *shape).expand(9, 2, *shape)
    value = data_free_loss(pictures, clone, victim, directions, 1e-6)
    (estimated,) = torch.autograd.grad(value, pictures)
    exact = pictures.detach().requires_grad_(True)
    LOSSES["logits"](clone(exact), victim(exact)).neg().backward()
    torch.testing.assert_close(estimated, exact.grad, atol=1e-4, rtol=1e-3)
    assert value.item() == pytest.approx(-LOSSES["logits"](clone(exact), victim(exact)).item())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 30, 17)])
def test_generated_and_augmented_pictures_are_pictures(shape: tuple[int, int, int]) -> None:
    made = Generator(8, shape, seed=1)(torch.randn(5, 8))
    assert made.shape == (5, *shape) and 0 <= made.min() and made.max() <= 1
    moved = augmented(made.detach(), seed=1, step=0)
    assert moved.shape == made.shape and 0 <= moved.min() and moved.max() <= 1
    assert torch.equal(moved, augmented(made.detach(), seed=1, step=0))
    assert not torch.equal(moved, augmented(made.detach(), seed=1, step=1))


def test_a_round_without_data_counts_every_picture() -> None:
    assert DataFree(clone_steps=5, directions=2).queries(64) == 64 * 8
