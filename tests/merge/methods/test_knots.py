"""KnOTS agrees with its formula in float64, and with what algebra says of it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_merge_reference import DTYPES, agree
from test_merge_reference_more import QUICK, SEEDS, TWO_WEIGHTS

import merge_reference as reference
from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge import make


@QUICK
@given(
    seed=SEEDS, dtype=DTYPES, weights=TWO_WEIGHTS, density=st.floats(0.1, 1), shape=st.sampled_from([(7, 30), (40, 6)])
)
def test_knots_with_ties(draw, seed, dtype, weights, density, shape) -> None:
    base, experts = draw(shape, seed, dtype, step=0.3)
    taus = [expert.double() - base.double() for expert in experts]
    u, s, vt = torch.linalg.svd(torch.cat(taus, dim=1), full_matrices=False)
    u, s, vt = u[:, s > 1e-5], s[s > 1e-5], vt[s > 1e-5]
    blocks = [s[:, None] * part for part in vt.split(shape[1], dim=1)]
    thinned = [block * reference.keep_largest(block, density) for block in blocks]
    merged = reference.elected(torch.zeros_like(blocks[0]), thinned, weights, 1.0)
    wanted = base.double() + 0.7 * u @ merged
    ours = make("knots", weights=weights, density=density, coefficient=0.7).merge(base, experts, name="w")
    agree(ours, wanted, [base, *experts, 2 * wanted])


@QUICK
@given(seed=SEEDS, weights=TWO_WEIGHTS)
def test_a_weighted_sum_is_the_same_in_every_basis(draw, seed, weights) -> None:
    base, experts = draw((9, 14), seed, step=0.3)
    plain = make("task_arithmetic", weights=weights).merge(base, experts, name="w")
    ours = make("knots", inner="task_arithmetic", weights=weights).merge(base, experts, name="w")
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)


def test_random_thinning_is_drawn_from_the_seed_and_keeps_the_mean(draw) -> None:
    base, experts = draw((64, 200), 1, step=0.3)
    merges = [make("knots", inner="dare_linear", density=0.5, rescale="inverse", seed=seed) for seed in (1, 1, 2)]
    one, same, other = (merge.merge(base, experts, name="w") for merge in merges)
    assert torch.equal(one, same) and not torch.equal(one, other)
    many = [make("knots", inner="dare_linear", density=0.5, rescale="inverse", seed=seed) for seed in range(40)]
    mean = torch.stack([merge.merge(base, experts, name="w") for merge in many]).mean(0)
    wanted = make("task_arithmetic").merge(base, experts, name="w")
    spread = (mean - wanted).norm() / (wanted - base).norm()
    assert spread < 3 / 40**0.5, "the mean over seeds is the plain sum"


def test_what_is_no_matrix_is_merged_as_it_is_and_a_small_update_is_dropped(draw) -> None:
    base, experts = draw((30,), 3)
    ties = make("ties", density=0.4).merge(base, experts, name="w")
    assert torch.equal(make("knots", density=0.4).merge(base, experts, name="w"), ties)
    base, experts = draw((5, 6), 3, step=1e-7)
    assert torch.equal(make("knots").merge(base, experts, name="w"), base)


def test_an_unknown_inner_method_is_refused() -> None:
    with pytest.raises(BadMergeParameter, match="inner is 'della'"):
        make("knots", inner="della")
