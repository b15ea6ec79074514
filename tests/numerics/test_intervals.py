"""Newcombe's interval against his published examples, and its limits."""

import pytest

from mergebarrier.numerics import newcombe, wilson


def _of(hits: int, rows: int) -> tuple[float, float, float]:
    return (hits / rows, *wilson(hits, rows))


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 10), 0.6075, 1.0000),
        ((0, 10), (0, 10), -0.2775, 0.2775),
    ],
)
def test_the_examples_of_the_paper(first, second, low: float, high: float) -> None:
    difference, lowest, highest = newcombe(_of(*first), _of(*second))
    assert difference == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert (lowest, highest) == pytest.approx((low, high), abs=6e-5)


def test_the_order_of_the_two_turns_the_interval_round() -> None:
    there, back = newcombe(_of(7, 40), _of(20, 50)), newcombe(_of(20, 50), _of(7, 40))
    assert (-there[0], -there[2], -there[1]) == pytest.approx(back)
