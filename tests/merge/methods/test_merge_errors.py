"""A merge that cannot be done is refused with its place, both numbers and what to do."""

import pytest
import torch

from merge_models import fit
from mergebarrier.errors import BadMergeParameter, NonFinite, ShapeMismatch
from mergebarrier.merge import MERGES, make

W = "layer.w"


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
            method.merge(None, fit(method, [torch.ones(2)] * 2), name="w")
    else:
        method.merge(None, fit(method, [torch.ones(2)] * 2), name="w")


def several(method) -> bool:
    """Whether the method sees more than one tensor, so that two can disagree."""
    return method.uses_base or method.max_experts != 1


def test_other_shapes_are_refused_with_both(method) -> None:
    base = torch.ones(2, 3)
    if several(method):
        with pytest.raises(ShapeMismatch, match=r"MB3001 layer\.w: \(3, 2\) .* against \(2, 3\)"):
            method.merge(base, fit(method, [base.reshape(3, 2), base]) if method.uses_base else [base, base.T], name=W)


def test_integers_that_differ_or_meet_floats_are_refused(method) -> None:
    one, two, real = torch.tensor([1]), torch.tensor([2]), torch.tensor([1.0])
    if several(method):
        for other, says in ((two, "integer tensor differs"), (real, r"torch\.float32")):
            with pytest.raises(ShapeMismatch, match=says):
                method.merge(one, fit(method, [other, one]), name="ids")


def test_results_that_do_not_fit_the_dtype_are_refused() -> None:
    big = torch.full((3,), 60000.0, dtype=torch.float16)
    with pytest.raises(NonFinite, match=r"float16.*wider dtype"):
        make("linear", normalize=False).merge(None, [big, big], name="w")


def test_inputs_that_are_not_finite_are_refused(method) -> None:
    for bad in (float("nan"), float("inf")):
        with pytest.raises(NonFinite, match=r"MB1008 w: "):
            method.merge(torch.zeros(4), fit(method, [torch.tensor([1, 2, 3, bad])] * 2), name="w")


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
        ("dare_linear", {"rescale": "l3"}, "rescale is 'l3'"),
        ("dare_linear", {"seed": -1}, "seed is -1"),
        ("dare_linear", {"seed": 0.5}, "seed is 0.5"),
        ("dare_linear", {"normalize": 1}, "normalize is 1"),
        ("task_arithmetic", {"coefficient": float("nan")}, "coefficient is nan"),
        ("task_arithmetic", {"arith": "fp8"}, "arith is 'fp8'"),
        ("task_arithmetic", {"weights": 0.5}, "weights is 0.5; give weights as a list"),
        ("linear", {"weights": ("1",)}, "weights is '1'"),
        ("nuslerp", {"flatten": 1}, "flatten is 1; give flatten as true or false"),
        ("multislerp", {"eps": -1e-8}, "eps is -1e-08"),
        ("karcher", {"max_iter": 1.5}, "max_iter is 1.5; give max_iter as a whole number"),
        ("karcher", {"tol": -1}, "tol is -1"),
        ("nearswap", {}, "needs the parameter 't'"),
        ("nearswap", {"t": -0.1}, "t is -0.1"),
        ("passthrough", {"scale": "2"}, "scale is '2'; give scale as a finite number"),
        ("passthrough", {"scale": 1e39}, "give scale as a finite number"),
        ("passthrough", {"scale": 10**400}, "give scale as a finite number"),
        ("breadcrumbs", {"gamma": 1.5}, "gamma is 1.5; give gamma as a number from 0 to 1"),
        ("breadcrumbs_ties", {"gamma": (0.1, -0.1)}, "gamma is -0.1"),
        ("della", {"epsilon": 0.6}, "epsilon is 0.6; give epsilon as a number from 0 to 0.5"),
        ("della_linear", {"seed": -1}, "seed is -1"),
        ("model_stock", {"filter_wise": None}, "filter_wise is None"),
        ("sce", {"select_topk": 2}, "select_topk is 2"),
        ("arcee_fusion", {"t": 0.5}, "no parameter 't'"),
        ("ram", {"epsilon": -1.0}, "epsilon is -1.0"),
        ("ramplus_tl", {"alpha": -1.0}, "alpha is -1.0"),
        ("magmax", {"coefficient": "x"}, "coefficient is 'x'"),
        ("consensus", {"agreement": 0}, "agreement is 0; give agreement as a whole number from 1"),
        ("consensus", {"mask_lambda": -1.0}, "mask_lambda is -1.0"),
        ("pcb", {"top": 0}, "top is 0; give top as a number above 0, to 1"),
        ("pcb", {"outliers": 0.6}, "outliers is 0.6"),
        ("iso_cts", {"common_space_fraction": 1.1}, "common_space_fraction is 1.1"),
        ("wudi", {"steps": -1}, "steps is -1"),
        ("wudi", {"learning_rate": -1}, "learning_rate is -1"),
        ("wudi_exact", {"ridge": 0}, "ridge is 0; give ridge as a number above 0, to 1"),
    ],
)
def test_a_bad_parameter_is_named_with_its_range(name, parameters, says) -> None:
    with pytest.raises(BadMergeParameter, match=says):
        make(name, **parameters)


def test_a_wrong_number_of_weights_or_densities_is_refused() -> None:
    models = [torch.ones(2)] * 2
    for name in sorted(name for name, member in MERGES.items() if hasattr(member, "weights")):
        with pytest.raises(BadMergeParameter, match="3 values of weights for 2 experts"):
            make(name, weights=(1.0, 1.0, 1.0)).merge(models[0], models, name="w")
    with pytest.raises(BadMergeParameter, match="3 values of density for 2 experts"):
        make("ties", density=(0.1, 0.2, 0.3)).merge(models[0], models, name="w")


def test_weights_that_sum_to_zero_cannot_be_normalised() -> None:
    with pytest.raises(BadMergeParameter, match=r"weights \(1\.0, -1\.0\) sum to zero"):
        make("linear", weights=(1.0, -1.0)).merge(None, [torch.ones(2)] * 2, name="w")
    with pytest.raises(BadMergeParameter, match=r"weights \(1\.0, -1\.0\) sum to zero"):
        make("multislerp", weights=(1.0, -1.0)).merge(None, [torch.ones(2)] * 2, name="w")


def test_probabilities_outside_zero_to_one_are_refused_with_both_numbers() -> None:
    for name in ("della", "della_linear"):
        for density in (0.1, 0.9):
            with pytest.raises(BadMergeParameter, match=f"density {density} and epsilon 0.15 give probabilities from"):
                make(name, density=density).merge(torch.ones(2), [torch.ones(2)], name="w")


def test_directions_that_cancel_have_no_mean() -> None:
    one = torch.tensor([1.0, 0.0])
    two = torch.tensor([-1.0, 3**0.5])
    with pytest.raises(BadMergeParameter, match="multislerp, w: the weighted directions of the models cancel"):
        make("multislerp").merge(None, [one, two, torch.tensor([-1.0, -(3**0.5)])], name="w")
    assert torch.equal(make("multislerp").merge(None, [one, -one], name="w"), torch.zeros(2))
