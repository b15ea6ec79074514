"""Every algorithm agrees with a float64 reference written from its formula: 1e-6 in float32, one rounding in bf16."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import merge_reference as reference
from mergebarrier.merge import make
from mergebarrier.merge.arithmetic.operands import BLOCK
from mergebarrier.numerics import aes

FAST = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WEIGHTS = st.lists(st.floats(-1.5, 2).filter(lambda w: abs(w) > 0.05), min_size=3, max_size=3)
DENSITIES = st.one_of(st.just(0.0), st.floats(0.02, 1))
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])


def agree(merged, wanted, operands, where=None) -> None:
    """Compare at the scale of the largest operand: a sum that cancels has no more digits than its terms.

    Only the entries of ``where`` count, when given: a rule that decides by a sum or a threshold has no stable answer
    for the others.
    """
    scale = max([tensor.double().abs().max().item() for tensor in operands] + [wanted.abs().max().item(), 1e-30])
    eps = torch.finfo(merged.dtype).eps
    rounding = 0.0 if merged.dtype in (torch.float32, torch.float64) else 0.5 * eps
    error = (merged.double() - wanted).abs()
    if where is not None:
        assert where.double().mean() > 0.5
        error = error[where]
    assert error.max() <= 1e-6 * scale + rounding * wanted.abs().max(), (error.max() / scale).item()


def taus_of(base, experts):
    return [expert.double() - base.double() for expert in experts]


def as_selected(base, experts):
    """Task vectors as they are in the arithmetic: a cut must see the same ties."""
    dtype = torch.float64 if base.dtype == torch.float64 else torch.float32
    return [(expert.double() - base.double()).to(dtype) for expert in experts]


def decided(votes):
    """Where the sum of the votes is clear of its rounding, or exact because at most one votes."""
    votes = torch.stack(list(votes))
    return (votes.sum(0).abs() > 1e-5 * votes.abs().sum(0)) | ((votes != 0).sum(0) <= 1)


@FAST
@given(seed=st.integers(0, 99), weights=WEIGHTS, dtype=DTYPES, normalize=st.booleans())
def test_linear(draw, seed, weights, dtype, normalize) -> None:
    _, experts = draw((7, 30), seed, dtype, experts=3)
    normalize = normalize and abs(sum(weights)) > 0.2
    merged = make("linear", weights=weights, normalize=normalize).merge(None, experts, name="w")
    wanted = reference.linear(None, experts, weights, normalize)
    agree(merged, wanted, [5 * abs(w) * x for w, x in zip(weights, experts, strict=True)] + experts)


@FAST
@given(seed=st.integers(0, 99), weights=WEIGHTS, dtype=DTYPES, coefficient=st.floats(-1, 2), normalize=st.booleans())
def test_task_arithmetic(draw, seed, weights, dtype, coefficient, normalize) -> None:
    base, experts = draw((7, 30), seed, dtype, experts=3)
    normalize = normalize and abs(sum(weights)) > 0.2
    merge = make("task_arithmetic", weights=weights, coefficient=coefficient, normalize=normalize)
    wanted = reference.weighted_sum(base, taus_of(base, experts), weights, coefficient, normalize)
    agree(merge.merge(base, experts, name="w"), wanted, [base, *experts])


@FAST
@given(
    seed=st.integers(0, 99),
    weights=WEIGHTS,
    dtype=DTYPES,
    density=st.one_of(DENSITIES, st.lists(DENSITIES, min_size=3, max_size=3)),
    rescale=st.sampled_from(["none", "l1", "inverse"]),
    elect=st.sampled_from(["weighted", "unweighted"]),
    elect_zero=st.sampled_from(["plus", "majority"]),
    reduce=st.sampled_from(["weighted_mean", "mean", "sum", "max"]),
)
def test_ties(draw, seed, weights, dtype, density, rescale, elect, elect_zero, reduce) -> None:
    base, experts = draw((7, 30), seed, dtype, experts=3)
    if elect == "weighted" or reduce in ("weighted_mean", "max"):
        weights = [abs(w) for w in weights]  # a divisor or a maximum over mixed signs has no stable reference
    densities = density if isinstance(density, list) else [density] * 3
    taus = as_selected(base, experts)
    thinned = [
        reference.rescaled(tau.double(), reference.keep_largest(tau, d).double(), rescale, d)
        for tau, d in zip(taus, densities, strict=True)
    ]
    options = {"elect": elect, "elect_zero": elect_zero, "reduce": reduce}
    wanted = reference.elected(base, thinned, weights, 0.7, **options)
    merge = make("ties", weights=weights, coefficient=0.7, density=density, rescale=rescale, **options)
    scaled = [abs(weight) * tau for weight, tau in zip(weights, thinned, strict=True)]
    where = decided(thinned if elect == "unweighted" else [w * tau for w, tau in zip(weights, thinned, strict=True)])
    agree(merge.merge(base, experts, name="w"), wanted, [base, *experts, *scaled], where)


@FAST
@given(
    seed=st.integers(0, 2**64 - 1),
    weights=WEIGHTS,
    dtype=DTYPES,
    density=st.floats(0.05, 0.95),
    rescale=st.sampled_from(["none", "l1", "inverse"]),
    ties=st.booleans(),
)
def test_dare_with_the_drawn_mask(draw, seed, weights, dtype, density, rescale, ties) -> None:
    base, experts = draw((7, 30), 5, dtype, experts=3)
    name, levels = ("dare_ties" if ties else "dare_linear"), aes.levels(density)
    thinned = []
    for index, tau in enumerate(taus_of(base, experts)):
        drawn = np.unpackbits(aes.bits(aes.stream_key(seed, name, index, "w"), tau.numel(), levels))
        mask = torch.from_numpy(drawn[: tau.numel()]).double().reshape(tau.shape)
        thinned.append(reference.rescaled(tau, mask, rescale, levels / 65536))
    combine = reference.elected if ties else reference.weighted_sum
    wanted = combine(base, thinned, weights, 0.7, **({"reduce": "sum"} if ties else {}))
    merge = make(name, weights=weights, coefficient=0.7, density=density, rescale=rescale, seed=seed)
    scaled = [weight * tau for weight, tau in zip(weights, thinned, strict=True)]
    where = decided(scaled) if ties else None
    agree(merge.merge(base, experts, name="w"), wanted, [base, *experts, *scaled], where)


@FAST
@given(seed=st.integers(0, 99), dtype=DTYPES, t=st.floats(0, 1), step=st.sampled_from([0.01, 0.1, 1.0, 10.0]))
def test_slerp(draw, seed, dtype, t, step) -> None:
    _, (a, b) = draw((7, 30), seed, dtype, step=step)
    merged = make("slerp", t=t).merge(None, [a, b], name="w")
    agree(merged, reference.slerp(a, b, t), [a, b])


@pytest.mark.parametrize("density", [0.0005, 0.2, 0.5, 0.9995])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ties_of_a_tensor_of_several_blocks(draw, density, dtype) -> None:
    base, experts = draw((BLOCK + 4321,), 1, dtype)
    taus = [(expert.float() - base.float()) for expert in experts]
    thinned = [tau.double() * reference.keep_largest(tau, density) for tau in taus]
    wanted = reference.elected(base, thinned, [1.0, 1.0], 1.0)
    agree(make("ties", density=density).merge(base, experts, name="w"), wanted, [base, *experts])


def test_input_arithmetic_rounds_every_step_to_the_dtype_of_the_base(draw) -> None:
    base, experts = draw((500,), 2, torch.bfloat16)
    a, b = ((expert - base) * 0.3 for expert in experts)
    wanted = base + (a + b) * 0.9
    rounded = make("task_arithmetic", weights=(0.3,), coefficient=0.9, arith="input").merge(base, experts, name="w")
    assert torch.equal(rounded, wanted)
    assert not torch.equal(
        make("task_arithmetic", weights=(0.3,), coefficient=0.9).merge(base, experts, name="w"), wanted
    )


def test_a_zero_sum_takes_the_positive_sign_or_that_of_the_majority() -> None:
    base, experts = torch.zeros(4), [torch.tensor([1.0, -2.0, -1.0, 0.0]), torch.tensor([-1.0, 1.0, -1.0, 0.0])]
    for name in ("ties", "dare_ties", "breadcrumbs_ties", "della"):
        plus = make(name, reduce="sum").merge(base, experts, name="w")
        assert plus.tolist() == [1, -2, -2, 0], name
        majority = make(name, reduce="sum", elect_zero="majority").merge(base, experts, name="w")
        assert majority.tolist() == [-1, -2, -2, 0], name
