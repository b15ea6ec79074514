"""The methods beyond the first six agree with a float64 reference: 1e-6 in float32, one rounding in bf16."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_merge_reference import DTYPES, FAST, agree, as_selected, decided, taus_of

import merge_reference as reference
from mergebarrier.merge import make
from mergebarrier.numerics import aes

QUICK = settings(FAST, max_examples=15)
SEEDS = st.integers(0, 99)
TWO_WEIGHTS = st.lists(st.floats(0.1, 2), min_size=2, max_size=2)


@QUICK
@given(seed=SEEDS, dtype=DTYPES, weights=TWO_WEIGHTS, flatten=st.booleans(), row_wise=st.booleans(), on=st.booleans())
def test_nuslerp(draw, seed, dtype, weights, flatten, row_wise, on) -> None:
    base, (a, b) = draw((7, 30), seed, dtype, step=0.3)
    origin = base.double() if on else torch.zeros(7, 30, dtype=torch.float64)
    t = weights[1] / sum(weights)
    wanted = origin + reference.nuslerp(a.double() - origin, b.double() - origin, t, flatten, row_wise)
    merge = make("nuslerp", weights=weights, flatten=flatten, row_wise=row_wise, task_vectors=on)
    agree(merge.merge(base, [a, b], name="w"), wanted, [base, a, b])


@QUICK
@given(seed=SEEDS, dtype=DTYPES, weights=TWO_WEIGHTS, normalize=st.booleans(), on=st.booleans())
def test_multislerp(draw, seed, dtype, weights, normalize, on) -> None:
    base, experts = draw((7, 30), seed, dtype, experts=3, step=0.3)
    weights = [*weights, 0.5]
    origin = base.double() if on else torch.zeros(7, 30, dtype=torch.float64)
    vectors = [expert.double() - origin for expert in experts]
    wanted = origin + reference.multislerp(vectors, weights, normalize)
    merge = make("multislerp", weights=weights, normalize=normalize, task_vectors=on)
    scale = 1 if normalize else sum(weights)
    agree(merge.merge(base, experts, name="w"), wanted, [base, *(scale * expert for expert in experts)])


@QUICK
@given(seed=SEEDS, dtype=DTYPES, count=st.integers(1, 4), step=st.sampled_from([0.001, 0.3, 3.0]))
def test_karcher(draw, seed, dtype, count, step) -> None:
    _, experts = draw((7, 30), seed, dtype, experts=count, step=step)
    merged = make("karcher", max_iter=6).merge(None, experts, name="w")
    agree(merged, reference.karcher(experts, 6, 1e-5), experts)


@QUICK
@given(seed=SEEDS, dtype=DTYPES, t=st.floats(1e-4, 0.1), scale=st.floats(-2, 2))
def test_nearswap_and_passthrough(draw, seed, dtype, t, scale) -> None:
    base, (a,) = draw((7, 30), seed, dtype, experts=1)
    tau = taus_of(base, [a])[0]
    agree(make("nearswap", t=t).merge(base, [a], name="w"), base.double() + tau.clamp(-t, t), [base, a])
    agree(make("passthrough", scale=scale).merge(None, [a], name="w"), scale * a.double(), [2 * a])
    assert torch.equal(make("passthrough").merge(None, [a], name="w"), a)


@QUICK
@given(
    seed=SEEDS,
    dtype=DTYPES,
    weights=TWO_WEIGHTS,
    density=st.floats(0.02, 1),
    gamma=st.floats(0, 1),
    rescale=st.sampled_from(["none", "l1", "inverse"]),
    ties=st.booleans(),
)
def test_breadcrumbs(draw, seed, dtype, weights, density, gamma, rescale, ties) -> None:
    base, experts = draw((7, 30), seed, dtype)
    thinned = [
        reference.rescaled(tau.double(), reference.keep_between(tau, density, gamma).double(), rescale, density)
        for tau in as_selected(base, experts)
    ]
    combine = reference.elected if ties else reference.weighted_sum
    wanted = combine(base, thinned, weights, 0.7, **({"reduce": "sum"} if ties else {}))
    parameters = {"density": density, "gamma": gamma, "rescale": rescale, "coefficient": 0.7, "weights": weights}
    scaled = [weight * tau for weight, tau in zip(weights, thinned, strict=True)]
    merged = make("breadcrumbs_ties" if ties else "breadcrumbs", **parameters).merge(base, experts, name="w")
    agree(merged, wanted, [base, *experts, *scaled], decided(scaled) if ties else None)


@QUICK
@given(
    seed=st.integers(0, 2**64 - 1),
    dtype=DTYPES,
    weights=TWO_WEIGHTS,
    density=st.floats(0.2, 0.8),
    rescale=st.sampled_from(["none", "l1", "inverse"]),
    shape=st.sampled_from([(7, 30), (210,), (210, 1)]),
    linear=st.booleans(),
)
def test_della_with_the_drawn_mask(draw, seed, dtype, weights, density, rescale, shape, linear) -> None:
    base, experts = draw(shape, 5, dtype)
    name, columns, epsilon = ("della_linear" if linear else "della"), shape[-1], 0.15
    place = np.linspace(0, 1, columns) if columns > 1 else np.array([0.5])
    levels = torch.from_numpy(np.rint(65536 * (density - epsilon + 2 * epsilon * place)))
    thinned = []
    for index, tau in enumerate(as_selected(base, experts)):
        drawn = torch.from_numpy(aes.draws(aes.stream_key(seed, name, index, "w"), 0, tau.numel()).copy())
        mask, probability = reference.keep_by_rank(tau.double(), levels, drawn)
        kept = tau.double() * mask
        thinned.append(
            kept / probability if rescale == "inverse" else reference.rescaled(tau.double(), mask, rescale, density)
        )
    combine = reference.weighted_sum if linear else reference.elected
    merge = make(name, weights=weights, coefficient=0.7, density=density, rescale=rescale, seed=seed)
    scaled = [weight * tau for weight, tau in zip(weights, thinned, strict=True)]
    where = None if linear else decided(scaled)
    agree(merge.merge(base, experts, name="w"), combine(base, thinned, weights, 0.7), [base, *experts, *scaled], where)


@QUICK
@given(seed=SEEDS, dtype=DTYPES, filter_wise=st.booleans(), shared=st.floats(0, 2))
def test_model_stock(draw, seed, dtype, filter_wise, shared) -> None:
    base, experts = draw((7, 30), seed, dtype, experts=3)
    experts = [expert + shared * (experts[0] - base) for expert in experts]
    wanted = reference.model_stock(base, taus_of(base, experts), filter_wise)
    merged = make("model_stock", filter_wise=filter_wise).merge(base, experts, name="w")
    far = (wanted - base.double()).abs().max() if filter_wise else 0 * base  # a singular row runs away
    agree(merged, wanted, [base, *experts, 10 * far])


@QUICK
@given(seed=SEEDS, dtype=DTYPES, topk=st.one_of(st.just(1.0), st.floats(0, 1)), step=st.sampled_from([1e-4, 0.01]))
def test_sce(draw, seed, dtype, topk, step) -> None:
    base, experts = draw((7, 30), seed, dtype, experts=3, step=step)
    taus = torch.stack(as_selected(base, experts)).double()
    variance = (taus - taus.mean(0)).square().mean(0)
    mask = reference.keep_varying(variance, topk)
    wanted = reference.sce(base, taus, mask)
    agree(make("sce", select_topk=topk).merge(base, experts, name="w"), wanted, [base, *experts], decided(taus * mask))


@QUICK
@given(seed=SEEDS, dtype=DTYPES)
def test_arcee_fusion(draw, seed, dtype) -> None:
    base, (expert,) = draw((7, 30), seed, dtype, experts=1)
    (tau,) = as_selected(base, [expert])
    scores, threshold = reference.fusion_scores(base, expert, tau)
    wanted = base.double() + torch.where(scores >= threshold, tau.double(), 0.0)
    clear = (scores - threshold).abs() > 1e-9 * threshold
    agree(make("arcee_fusion").merge(base, [expert], name="w"), wanted, [base, expert], clear)


@QUICK
@given(seed=SEEDS, dtype=DTYPES, epsilon=st.sampled_from([1e-5, 0.01]), r=st.floats(0, 1), alpha=st.floats(0, 3))
def test_ram(draw, seed, dtype, epsilon, r, alpha) -> None:
    base, experts = draw((7, 30), seed, dtype, experts=3)
    taus = torch.stack(taus_of(base, experts))
    active = torch.stack(as_selected(base, experts)).abs() > torch.tensor(epsilon, dtype=torch.float32)
    if dtype == torch.float64:
        active = taus.abs() > epsilon
    agree(make("ram", epsilon=epsilon).merge(base, experts, name="w"), reference.ram(base, taus, active), [base])
    merged = make("ramplus_tl", epsilon=epsilon, r=r, alpha=alpha).merge(base, experts, name="w")
    agree(merged, reference.ram(base, taus, active, r, alpha), [base])


@QUICK
@given(seed=SEEDS, dtype=DTYPES, mask_lambda=st.floats(0.1, 1), agreement=st.integers(1, 3))
def test_magmax_consensus_and_emr(draw, seed, dtype, mask_lambda, agreement) -> None:
    base, experts = draw((7, 30), seed, dtype, experts=3)
    taus = torch.stack(taus_of(base, experts))
    merged = make("magmax", coefficient=0.7).merge(base, experts, name="w")
    agree(merged, base.double() + 0.7 * reference.magmax(taus), [base])
    merged = make("consensus", mask_lambda=mask_lambda, agreement=agreement).merge(base, experts, name="w")
    rest = (taus.sum(0) - taus).abs()
    clear = ((taus.abs() - mask_lambda * rest).abs() > 1e-5 * (taus.abs() + rest)).all(0)
    wanted = base.double() + reference.consensus(taus, mask_lambda, agreement)
    agree(merged, wanted, [base], clear | (taus == 0).all(0))
    agree(make("emr").merge(base, experts, name="w"), base.double() + reference.emr(taus), [base], decided(taus))


@QUICK
@given(seed=SEEDS, dtype=DTYPES, top=st.floats(0.05, 1), outliers=st.floats(0, 0.2), step=st.sampled_from([0.01, 0.5]))
def test_pcb(draw, seed, dtype, top, outliers, step) -> None:
    base, experts = draw((7, 30), seed, dtype, experts=3, step=step)
    taus = torch.stack(taus_of(base, experts))
    wanted = base.double() + 1.2 * reference.pcb(taus, top, outliers)
    agree(make("pcb", top=top, outliers=outliers).merge(base, experts, name="w"), wanted, [base, *experts])


SHAPES = st.sampled_from([(12, 30), (30, 12), (16, 16)])


@QUICK
@given(seed=SEEDS, dtype=DTYPES, shape=SHAPES, fraction=st.floats(0, 1), count=st.integers(2, 3))
def test_spectral_methods(draw, seed, dtype, shape, fraction, count) -> None:
    """The tolerance is 1e-6 of the base, hence 1e-4 of the task vectors, whose singular vectors are sensitive."""
    base, experts = draw(shape, seed, dtype, experts=count)
    taus = torch.stack(taus_of(base, experts))
    wanted = {
        "iso_c": reference.iso_c(taus),
        "tsv_m": reference.tsv_m(taus),
    }
    if round((min(shape) - int(min(shape) * fraction)) / count) * count <= min(shape):
        wanted["iso_cts"] = reference.iso_cts(taus, fraction)
    for name, tau in wanted.items():
        parameters = {"common_space_fraction": fraction} if name == "iso_cts" else {}
        agree(make(name, **parameters).merge(base, experts, name="w"), base.double() + tau, [base])


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_wudi(draw, shape, dtype) -> None:
    base, experts = draw(shape, 3, dtype, experts=3)
    taus = torch.stack(taus_of(base, experts))
    merged = make("wudi").merge(base, experts, name="w")
    agree(merged, base.double() + reference.wudi(taus, 300, 1e-5), [base])
    for ridge in (1e-6, 0.1):
        merged = make("wudi_exact", ridge=ridge).merge(base, experts, name="w")
        agree(merged, base.double() + reference.wudi_exact(taus, ridge), [base])


def test_what_is_no_matrix_takes_the_mean_in_spectral_methods(draw) -> None:
    for shape in ((9,), (2, 3, 4), ()):
        base, experts = draw(shape, 1, experts=3)
        for name in ("iso_c", "iso_cts", "tsv_m", "wudi", "wudi_exact"):
            torch.testing.assert_close(make(name).merge(base, experts, name="w"), sum(experts) / 3)


def test_noise_directions_are_dropped_by_spectral_methods(draw) -> None:
    """An adapter of rank 1 stays of rank 1; a full SVD would give its rounding noise the same size."""
    base = draw((20, 30), 0)[0].double()
    left, right = torch.linspace(1, 2, 20), torch.linspace(-1, 1, 30)
    tau = 0.01 * torch.outer(left, right).double()  # its own rounding is the noise
    for name, size in (("iso_c", 1 / 20), ("tsv_m", 1.0), ("wudi_exact", 1.0)):
        merged = make(name).merge(base, [base + tau], name="w") - base
        torch.testing.assert_close(merged, size * tau, rtol=1e-4, atol=1e-7)


def test_wudi_exact_is_no_worse_than_any_step_of_wudi(draw) -> None:
    base, experts = draw((12, 30), 4, torch.float64, experts=3)
    taus = torch.stack(taus_of(base, experts))

    def loss(merged):
        tau = merged - base
        return sum((((tau - t) @ t.T) ** 2).sum() / (t**2).sum() for t in taus).item()

    losses = [loss(make("wudi", steps=steps).merge(base, experts, name="w")) for steps in (0, 30, 300)]
    assert losses == sorted(losses, reverse=True)
    assert loss(make("wudi_exact", ridge=1e-9).merge(base, experts, name="w")) <= losses[-1]


def test_karcher_skips_what_has_no_direction_and_model_stock_keeps_the_base_at_right_angles() -> None:
    x, y, zero = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]), torch.zeros(2)
    assert torch.equal(make("karcher").merge(None, [x, zero], name="w"), x / 2)
    assert torch.equal(make("model_stock").merge(zero, [x, y], name="w"), zero)
    assert torch.equal(make("model_stock").merge(zero, [x, -x], name="w"), zero)
    for a, b in itertools.permutations((x, zero), 2):
        torch.testing.assert_close(make("nuslerp", weights=(1, 1)).merge(None, [a, b], name="w"), x / 2)
