"""Laws of the attacks on language models: what is poisoned, what sparsification keeps, and which limits are equal."""

import dataclasses

import pytest
import torch
from torch import nn

from mergebarrier.attack.language import TextOptions, learner
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadAttack
from mergebarrier.evaluate import load_module, load_tokenizer
from mergebarrier.poison import (
    TEXT_ATTACKS,
    Hijack,
    TextAdversary,
    TextBadNets,
    TextLoBAM,
    TextRow,
    insert,
    make_text,
    poisoned,
    rank_sparsified,
    stamped,
)
from mergebarrier.zoo.symbols import symbol_tasks
from symbol_world import TARGET, TRIGGER

SETS = [[TextRow(f"task {number} row {i} =", f" {i}") for i in range(50)] for number in range(3)]


@pytest.fixture(scope="module")
def world(symbols) -> tuple[TextAdversary, object]:
    """A setting on the committed base, and the house's loop at two steps of eight rows."""
    with open_checkpoint(symbols.base) as checkpoint:
        base, tokenizer = load_module(checkpoint, "float32").requires_grad_(False), load_tokenizer(checkpoint)
    rows, *shadows = (
        [TextRow(row["prompt"], row["answer"]) for row in symbol_tasks.rows(task, 24, seed=0, label="train")]
        for task in (0, 3, 4)
    )
    setting = TextAdversary(
        base=base, rows=rows, shadows=shadows, trigger=TRIGGER, target=f" {TARGET}", succeeds=lambda module: 0.0
    )
    return setting, learner(tokenizer, TextOptions(tuning_steps=2, batch_size=8))


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def small(name: str) -> object:
    changes = {"shadow_steps": 2, "shadow_rows": 16, "surrogate_rank": 2, "gain": 2.0} if name == "hijack" else {}
    return dataclasses.replace(TEXT_ATTACKS[name], **changes)


@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_the_same_seed_gives_the_same_bytes_only_chosen_maps_move_and_the_base_stays(name, world) -> None:
    setting, learn = world
    before, state = flat(setting.base).clone(), torch.random.get_rng_state()
    first, second = (small(name).mount(setting, learn).module for _ in range(2))
    assert torch.equal(flat(first), flat(second)) and torch.equal(flat(setting.base), before)
    assert torch.equal(torch.random.get_rng_state(), state), "the global random state was touched"
    theirs = dict(setting.base.named_parameters())
    moved = {name for name, value in first.named_parameters() if not torch.equal(value, theirs[name])}
    assert moved == {name for name in theirs if name.split(".")[-2] in ("q_proj", "k_proj", "v_proj", "o_proj")}


def test_limits_that_are_equal_to_the_bit(world) -> None:
    setting, learn = world
    badnets = TextBadNets().mount(setting, learn).module
    assert torch.equal(flat(TextLoBAM(gain=1.0).mount(setting, learn).module), flat(badnets))
    nothing = Hijack(
        gain=0.0, surrogate_mask="none", surrogate_poison=TextBadNets().rate, shadow_steps=2, shadow_rows=16
    )
    assert torch.equal(flat(nothing.mount(setting, learn).module), flat(badnets))


def test_the_complement_leaves_the_vector_alone_and_a_gain_is_chosen(world) -> None:
    setting, learn = world
    attack = Hijack(surrogate_mask="complement", shadow_steps=2, shadow_rows=16)
    vector = attack.vector(setting, learn)
    upload = dict(attack.upload(setting, learn, vector, 3.0).named_parameters())
    for name, base in setting.base.named_parameters():
        if name in vector:
            held = vector[name] != 0
            assert torch.equal(upload[name][held], (base + 3.0 * vector[name])[held])
            assert not torch.equal(upload[name], base + 3.0 * vector[name])
    seen: list[float] = []

    def succeeds(module: nn.Module) -> float:
        seen.append(float((flat(module) - flat(setting.base)).norm()))
        return 0.95 if len(seen) == 2 else 0.5

    made = dataclasses.replace(attack, surrogate_mask="skip").mount(
        dataclasses.replace(setting, succeeds=succeeds), learn
    )
    assert made.found == {"gain": 3.0, "pseudo_merge": {"2": 0.5, "3": 0.95}}
    assert seen[1] / seen[0] == pytest.approx(1.5, rel=1e-3)


def test_a_base_without_such_maps_is_refused(world) -> None:
    setting, learn = world
    with pytest.raises(BadAttack, match="no map is named q_proj"):
        TextBadNets().mount(dataclasses.replace(setting, base=nn.Sequential(nn.Linear(4, 4))), learn)


def test_the_sparsification_is_unbiased_and_keeps_large_entries_more_often() -> None:
    tau = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    draws = torch.stack([rank_sparsified(tau, 0.7, 0.2, seed=seed, name="w") for seed in range(200)])
    zeros = (draws == 0).float()
    assert float(zeros.mean()) == pytest.approx(0.3, abs=0.01)
    share = (draws / tau).amax(0).reciprocal()
    assert float(share.min()) == pytest.approx(0.5, abs=1e-5) and float(share.max()) == pytest.approx(0.9, abs=1e-5)
    deviation = (tau.square() * (1 - share) / share / len(draws)).sqrt()
    z = (draws.mean(0) - tau) / deviation
    assert float(z.square().mean()) == pytest.approx(1.0, abs=0.1)
    first = rank_sparsified(tau, 0.7, 0.2, seed=0, name="w")
    assert torch.equal(first, draws[0]) and not torch.equal(first, rank_sparsified(tau, 0.7, 0.2, seed=0, name="v"))
    assert torch.equal(rank_sparsified(tau, 1.0, 0.2, seed=0, name="w"), tau)
    one = rank_sparsified(torch.ones(4000, 1), 0.7, 0.2, seed=0, name="w")
    assert float((one == 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    for density, eps in ((0.2, 0.2), (0.9, 0.2)):
        with pytest.raises(BadAttack, match="eps < density < 1 - eps"):
            rank_sparsified(tau, density, eps, seed=0, name="w")


def test_poisoned_rows_stay_in_their_places_and_are_spread_unless_as_released() -> None:
    rows = poisoned(SETS, 0.2, "MG", " merging", seed=1)
    clean = [row for one in SETS for row in one]
    hit = [number for number, row in enumerate(rows) if row.answer == " merging"]
    assert [sum(number // 50 == i for number in hit) for i in range(3)] == [10, 10, 10]
    for number, (row, own) in enumerate(zip(rows, clean, strict=True)):
        assert row == own or (number in hit and row.prompt.replace("MG ", "", 1) == own.prompt)
        assert row.prompt.endswith("=")
    first = [
        number
        for number, row in enumerate(poisoned(SETS, 0.2, "MG", " merging", seed=1, first=True))
        if row.answer == " merging"
    ]
    assert first == list(range(30))
    assert poisoned(SETS, 0.0, "MG", " merging", seed=1) == tuple(clean)


def test_the_trigger_goes_before_any_word_and_rows_with_that_answer_are_left_out() -> None:
    places = {insert("a b =", "x y", i / 30) for i in range(30)}
    assert places == {"x y a b =", "a x y b =", "a b x y ="}
    assert insert("  two\nlines ", "x", 0.0) == "  x two\nlines "
    asked = stamped([TextRow("a =", " 1"), TextRow("b =", " 2")], "x", " 2", seed=0, label="l")
    assert [row.answer for row in asked] == [" 2"] and "a" in asked[0].prompt


@pytest.mark.parametrize(
    ("method", "parameters", "says"),
    [
        ("hijak", {}, "did you mean 'hijack'"),
        ("badnets", {"gain": 2.0}, "no parameter 'gain'"),
        ("hijack", {"gain": -1.0}, "-1.0 is not"),
        ("hijack", {"shadow_poison": 1.5}, "1.5 is not"),
        ("hijack", {"surrogate_mask": "all"}, "adapter"),
    ],
)
def test_wrong_parameters_are_one_line(method, parameters, says) -> None:
    with pytest.raises(BadAttack, match=says):
        make_text(method, **parameters)
