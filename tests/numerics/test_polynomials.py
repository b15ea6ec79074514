"""Coefficients against published errors, and series against what they stand for."""

import pytest
import torch

from mergebarrier.modeling_mergebarrier import ACTIVATIONS, polynomials
from mergebarrier.numerics.polynomials import activation_of, coefficients, errors

#: (activation, middle, half-width, order) -> largest error of Chebyshev's interpolant, in 40 digits.
CHEBYSHEV = {
    ("silu", 0.0, 1.0, 4): 1.0e-4, ("silu", 0.0, 2.0, 8): 2.7e-5, ("silu", 0.0, 4.0, 12): 1.7e-4,
    ("silu", -1.0, 4.0, 8): 5.2e-3, ("gelu", 0.0, 2.0, 6): 1.7e-3, ("gelu", -1.0, 4.0, 12): 1.4e-3,
}  # fmt: skip
TAYLOR = {("silu", 0.0, 2.0, 8): 1.6e-2, ("silu", 0.0, 3.0, 8): 6.6e-1, ("gelu", 0.0, 2.0, 12): 8.7e-3}


@pytest.mark.parametrize(("basis", "table"), [("chebyshev", CHEBYSHEV), ("taylor", TAYLOR)])
def test_errors_are_those_that_forty_digits_give(basis, table) -> None:
    for (activation, mid, half, order), known in table.items():
        place = [torch.tensor([value], dtype=torch.float64) for value in (mid, half)]
        found = errors(basis, activation, *place, coefficients(basis, activation, *place, order))
        assert float(found) <= 1.05 * known and (basis == "chebyshev" or float(found) >= 0.9 * known)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("basis", ["chebyshev", "taylor"])
def test_the_series_of_the_class_is_the_one_of_the_coefficients(basis, activation) -> None:
    mid, half = (torch.tensor([value], dtype=torch.float64) for value in (0.3, 0.9))
    plan = {"basis": basis, "order": 16, "outside": "linear"}
    t = torch.linspace(-1, 1, 101, dtype=torch.float64)
    found = sum(
        a * value
        for a, value in zip(coefficients(basis, activation, mid, half, 16)[0], polynomials(t, plan), strict=True)
    )
    torch.testing.assert_close(found, ACTIVATIONS[activation](mid + half * t), atol=1e-5, rtol=0)
    assert activation_of(ACTIVATIONS[activation]) == activation


@pytest.mark.parametrize("outside", ["linear", "clamp"])
@pytest.mark.parametrize("basis", ["chebyshev", "taylor"])
def test_outside_it_is_constant_on_the_left_and_smooth_on_the_right(basis, outside) -> None:
    t = torch.tensor([-9.0, -1.0, 1.0, 1.001, 3.0], dtype=torch.float64)
    for n, value in enumerate(polynomials(t, {"basis": basis, "order": 12, "outside": outside})):
        slope = (n * n if basis == "chebyshev" else n) * (outside == "linear")
        torch.testing.assert_close(
            value, torch.tensor([(-1.0) ** n] * 2 + [1 + slope * x for x in (0, 0.001, 2)]).double()
        )
