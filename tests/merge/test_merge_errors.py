"""A merge that cannot be done is refused with its place, both numbers and what to do."""

import pytest
import torch

from mergebarrier.errors import BadMergeParameter, NonFinite, ShapeMismatch
from mergebarrier.merge import MERGES, make


def test_a_wrong_number_of_experts_is_refused(method) -> None:
    one = torch.ones(2)
    with pytest.raises(BadMergeParameter, match="got 0 experts, takes"):
        method.merge(one, [], name="w")
    if method.max_experts is not None:
        with pytest.raises(BadMergeParameter, match=f"got 3 experts, takes exactly {method.max_experts}"):
            method.merge(one, [one] * 3, name="w")


def test_a_missing_base_is_refused_by_those_that_use_it(method) -> None:
    if method.uses_base:
        with pytest.raises(BadMergeParameter, match="needs the base model; give --base"):
            method.merge(None, [torch.ones(2)] * 2, name="w")
    else:
        method.merge(None, [torch.ones(2)] * 2, name="w")


def test_other_shapes_are_refused_with_both(method) -> None:
    base = torch.ones(2, 3)
    with pytest.raises(ShapeMismatch, match=r"MB3001 layer\.w: \(3, 2\) .* against \(2, 3\)"):
        method.merge(base, [base, base.reshape(3, 2)], name="layer.w")


def test_integers_that_differ_or_meet_floats_are_refused(method) -> None:
    with pytest.raises(ShapeMismatch, match="integer tensor differs"):
        method.merge(torch.tensor([1]), [torch.tensor([1]), torch.tensor([2])], name="ids")
    with pytest.raises(ShapeMismatch, match=r"torch\.float32"):
        method.merge(torch.tensor([1]), [torch.tensor([1]), torch.tensor([1.0])], name="ids")


def test_results_that_do_not_fit_the_dtype_are_refused() -> None:
    big = torch.full((3,), 60000.0, dtype=torch.float16)
    with pytest.raises(NonFinite, match=r"float16.*wider dtype"):
        make("linear", normalize=False).merge(None, [big, big], name="w")


def test_inputs_that_are_not_finite_are_refused(method) -> None:
    for bad in (float("nan"), float("inf")):
        with pytest.raises(NonFinite, match=r"MB1008 w: "):
            method.merge(torch.zeros(4), [torch.tensor([1, 2, 3, bad])] * 2, name="w")


def test_large_finite_values_are_not_mistaken_for_overflow() -> None:
    big = torch.full((1000,), 3e38)
    assert torch.equal(make("linear").merge(None, [big], name="w"), big)
    assert torch.equal(make("linear").merge(None, [big.double() * 1e9], name="w"), big.double() * 1e9)


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("tie", {}, "unknown merge method .did you mean 'ties'"),
        ("ties", {"densty": 0.2}, "no parameter 'densty' .did you mean 'density'"),
        ("linear", {"coefficient": 1.0}, "no parameter 'coefficient'"),
        ("slerp", {}, "needs the parameter 't'"),
        ("slerp", {"t": 1.5}, "t is 1.5; give t as a number from 0 to 1"),
        ("slerp", {"t": "half"}, "t is 'half'"),
        ("ties", {"density": -0.1}, "density is -0.1"),
        ("ties", {"density": (0.1, 1.1)}, "density is 1.1"),
        ("ties", {"density": True}, "density is True"),
        ("ties", {"reduce": "median"}, "reduce is 'median'; give reduce as weighted_mean | mean | sum | max"),
        ("ties", {"elect": "x"}, "elect is 'x'"),
        ("dare_ties", {"elect_zero": "minus"}, "elect_zero is 'minus'"),
        ("dare_linear", {"rescale": "l2"}, "rescale is 'l2'"),
        ("dare_linear", {"seed": -1}, "seed is -1"),
        ("dare_linear", {"seed": 0.5}, "seed is 0.5"),
        ("dare_linear", {"normalize": 1}, "normalize is 1"),
        ("task_arithmetic", {"coefficient": float("nan")}, "coefficient is nan"),
        ("task_arithmetic", {"arith": "fp8"}, "arith is 'fp8'"),
        ("task_arithmetic", {"weights": 0.5}, "weights is 0.5; give weights as a list"),
        ("linear", {"weights": ("1",)}, "weights is '1'"),
    ],
)
def test_a_bad_parameter_is_named_with_its_range(name, parameters, says) -> None:
    with pytest.raises(BadMergeParameter, match=says):
        make(name, **parameters)


def test_a_wrong_number_of_weights_or_densities_is_refused() -> None:
    models = [torch.ones(2)] * 2
    for name in sorted(set(MERGES) - {"slerp"}):
        with pytest.raises(BadMergeParameter, match="3 values of weights for 2 experts"):
            make(name, weights=(1.0, 1.0, 1.0)).merge(models[0], models, name="w")
    with pytest.raises(BadMergeParameter, match="3 values of density for 2 experts"):
        make("ties", density=(0.1, 0.2, 0.3)).merge(models[0], models, name="w")


def test_weights_that_sum_to_zero_cannot_be_normalised() -> None:
    with pytest.raises(BadMergeParameter, match=r"weights \(1\.0, -1\.0\) sum to zero"):
        make("linear", weights=(1.0, -1.0)).merge(None, [torch.ones(2)] * 2, name="w")
