"""Several tests at once."""

import pytest

from mergebarrier.numerics import holm, least_of


def test_holm_steps_down() -> None:
    assert holm([]) == [] and holm([0.9, 0.001]) == [0.9, 0.002]
    assert holm([0.01, 0.5, 0.02]) == [0.03, 0.5, 0.04], "a later p is never smaller than an earlier one"


def test_the_least_of_several_is_as_likely_as_it_says() -> None:
    assert least_of([0.01, 0.5], 2) == pytest.approx(1 - 0.99**2)
    assert least_of([1e-300], 5) == pytest.approx(5e-300, rel=1e-9), "a small p is not lost to rounding"
    assert least_of([], 5) == least_of([1.0], 5) == 1.0 and least_of([0.0], 5) == 0.0
