"""Figures over merges, levels, keys and seeds, on numbers that can be worked out by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import tiny_models
from made_up import made_up_result
from mergebarrier.audit.metrics import (
    alike,
    bootstrap,
    ceiling,
    front,
    hypervolume,
    matched_control,
    override,
    price_notes,
    price_of,
    spread_of,
)
from mergebarrier.evaluate import TaskRow
from mergebarrier.results import AttackCost, ScaleCurve
from tiny_tokenizer import add_tokenizer


def test_the_front_leaves_out_what_is_beaten_and_the_area_counts_it_once() -> None:
    points = [(1.0, 0.2), (0.5, 0.5), (0.4, 0.5), (0.2, 0.9), (0.1, 0.1)]
    assert front(points) == ((1.0, 0.2), (0.5, 0.5), (0.2, 0.9))
    assert hypervolume(points) == pytest.approx(1.0 * 0.2 + 0.5 * 0.3 + 0.2 * 0.4)
    assert hypervolume([(1.0, 0.0), (0.0, 1.0)]) == 0.0 == hypervolume([]) and hypervolume([(1.0, 1.0)]) == 1.0


def test_a_spread_varies_with_whole_groups() -> None:
    alike, apart = [[0.1, 0.9], [0.1, 0.9], [0.1, 0.9]], [[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]]
    one, two = spread_of(alike), spread_of(apart)
    assert one.mean == two.mean == pytest.approx(0.5) and (one.least, one.greatest, one.n) == (0.1, 0.9, 6)
    assert one.error == pytest.approx(0.0) and two.error == pytest.approx(0.4 / math.sqrt(3))
    assert two.headline == pytest.approx(two.mean + two.error) and two.low < 0.3 < 0.7 < two.high
    single = spread_of([[0.0, 1.0]])
    assert single.error == pytest.approx(0.5) and (single.low, single.high) == (0.0, 1.0)
    many = [[n / 7] for n in range(9)]
    assert bootstrap(many, seed=3) == bootstrap(many, seed=3) != bootstrap(many, seed=4)
    with pytest.raises(ValueError, match="no figure"):
        spread_of([[], [1.0]])


def test_the_price_is_that_of_the_cheapest_attack_that_breaks_it() -> None:
    (level, *_) = made_up_result().levels
    cheap, dear = replace(level, level=3, ruf=0.95, flops=10, attacker="gradients"), replace(level, ruf=0.9, flops=99)
    open_, honest = replace(level, ruf=0.89, flops=1), replace(level, name="honest", ruf=1.0, flops=7, tokens=5)
    found = price_of([open_, cheap, dear])
    assert found is not None and (found.level, found.flops) == (3, 10)
    black_box = price_of([open_, cheap, dear], gradients=False)
    assert black_box is not None and black_box.flops == 99 and price_of([open_]) is None
    # What breaks it need not be the best merge, whose search may have cost more.
    sooner = price_of([cheap, replace(dear, breaking=AttackCost(flops=3, tokens=2, seconds=1.0))])
    assert sooner is not None and (sooner.flops, sooner.tokens) == (3, 2)
    notes = list(price_notes([open_, cheap, dear], [honest], 1000))
    assert len(notes) == 5 and "7e+00 FLOP and 5 tokens" in notes[2]
    assert notes[3].startswith("Level 7, block distillation") and notes[4].endswith("priced, not run.")
    assert [one.flops for one in ceiling(1000)] == [8 * 1000 * 10**6, 8 * 1000 * 10**7]


def test_a_twin_that_does_not_merge_and_an_overridden_model_are_told(tmp_path: Path) -> None:
    assert matched_control(0.93).passed and not matched_control(0.2).passed
    one, two = (tiny_models.build("llama-mha-tied", seed).eval() for seed in (0, 1))
    rows = [TaskRow("w1 w2 w3", " w4 w5"), TaskRow("w7", " w8")]
    tokenizer = Tokenizer.from_file(str(add_tokenizer(tmp_path) / "tokenizer.json"))
    same, other = (override(alike(one, model, tokenizer, rows)) for model in (one, two))
    assert same.passed and same.figure == 1.0 and not other.passed and other.figure <= 2 / 3


def test_the_width_of_a_scale_curve_is_where_the_skill_stays() -> None:
    rates = {0.5: 1.0, 0.8: 0.2, 0.9: 0.95, 0.95: 1.0, 1.0: 1.0, 1.05: 0.91, 1.1: 0.5, 1.2: 1.0}
    curve = ScaleCurve(points=tuple((s, rate, 0.0) for s, rate in rates.items()))
    assert curve.width == pytest.approx(0.15)
