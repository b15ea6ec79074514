"""Holm's procedure."""

from mergebarrier.numerics import holm


def test_holm_steps_down() -> None:
    assert holm([]) == [] and holm([0.9, 0.001]) == [0.9, 0.002]
    assert holm([0.01, 0.5, 0.02]) == [0.03, 0.5, 0.04], "a later p is never smaller than an earlier one"
