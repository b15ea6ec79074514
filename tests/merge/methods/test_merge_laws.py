"""Laws that hold for every member of the registry."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merge_models import fit
from mergebarrier.merge import MERGES, Merge, make
from mergebarrier.merge.arithmetic import BLOCK, Streamed

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
FAST = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FOR_EACH = settings(FAST, max_examples=8)  # for every member of the registry


def test_the_registry_names_its_members() -> None:
    assert all(name == member.name for name, member in MERGES.items())
    assert all(member.need in ("elementwise", "row", "tensor", "circuit") for member in MERGES.values())


@FOR_EACH
@given(shape=st.lists(st.integers(0, 5), max_size=3), seed=st.integers(0, 99), dtype=st.sampled_from(FLOATS))
def test_shape_and_dtype_are_closed(method, draw, shape, seed, dtype) -> None:
    base, experts = draw(tuple(shape), seed, dtype)
    merged = method.merge(base, fit(method, experts), name="w")
    assert merged.shape == base.shape and merged.dtype == dtype and merged.is_contiguous()
    assert torch.isfinite(merged.double()).all()


@FOR_EACH
@given(size=st.integers(1, 700), block=st.integers(1, 700), seed=st.integers(0, 99))
def test_block_size_never_changes_a_bit(method, draw, size, block, seed) -> None:
    for shape in ((size,), (-(-size // 13), 13)):
        base, experts = draw(shape, seed, torch.bfloat16)
        experts = fit(method, experts)
        whole = method.merge(base, experts, name="w")
        assert torch.equal(method.merge(base, experts, name="w", block=block), whole)


@settings(FAST, max_examples=3)
@given(rows=st.integers(1, 40), columns=st.integers(1, 20), block=st.integers(1, 300), seed=st.integers(0, 99))
def test_a_tensor_that_is_read_in_passes_merges_to_the_same_bits(method, draw, rows, columns, block, seed) -> None:
    base, experts = draw((rows, columns), seed, torch.bfloat16)
    experts = fit(method, experts)
    whole = method.merge(base, experts, name="w", block=block)
    stored, *others = (Streamed(tuple(one.shape), one.dtype, partial(_rows, one)) for one in (base, *experts))
    merged = torch.cat([part.clone() for part in method.merge_rows(stored, others, name="w", block=block)])
    assert torch.equal(merged.view(torch.int16), whole.view(torch.int16))


@pytest.mark.parametrize("name", [name for name, member in MERGES.items() if member.dense])
def test_a_dense_method_makes_its_tensors_beside_its_matrices(name, draw) -> None:
    base, experts = draw((24, 16), 3, torch.bfloat16)
    method = make(name)
    wanted = method.merge(base, experts, name="w")
    assert torch.equal(method.merge(base, experts, name="w", device="cpu"), wanted)
    combine = getattr(method, "combine", None)
    if combine is not None:
        taus = torch.stack([expert.double() - base.double() for expert in experts])
        combined = combine(taus.clone())
        with torch.device("meta"):  # where a tensor goes whose maker names no other place
            assert torch.equal(combine(taus.clone()), combined)


def _rows(tensor: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    assert 0 <= start < stop <= len(tensor)
    return tensor[start:stop].clone()


def test_an_elementwise_method_may_be_given_any_block_of_rows(elementwise_method, draw) -> None:
    base, experts = draw((12, 7))
    experts = fit(elementwise_method, experts)
    whole = elementwise_method.merge(base, experts, name="w")
    pieces = [elementwise_method.merge(base[i : i + 5], [e[i : i + 5] for e in experts], name="w") for i in (0, 5, 10)]
    assert torch.equal(torch.cat(pieces), whole)


@FAST
@given(seed=st.integers(0, 99), dtype=st.sampled_from(FLOATS), copies=st.integers(1, 4))
def test_copies_of_one_expert_merge_to_it_where_weights_are_normalised(draw, seed, dtype, copies) -> None:
    base, (expert,) = draw((33,), seed, dtype, experts=1)
    methods = [
        make("linear"),
        make("task_arithmetic", normalize=True),
        make("task_arithmetic", weights=(1 / copies,)),
        make("ties"),
        make("ties", reduce="mean"),
        make("ties", reduce="max"),
        make("dare_linear", normalize=True),
        make("dare_ties", reduce="weighted_mean"),
        make("multislerp"),
        make("multislerp", task_vectors=True),
        make("karcher"),
        make("breadcrumbs", normalize=True),
        make("breadcrumbs_ties", reduce="mean"),
        make("della"),
        make("della_linear", normalize=True),
        make("sce"),
        make("ram", epsilon=0.0),
        make("magmax"),
        make("emr"),
        *([make("slerp", t=0.3), make("nuslerp"), make("nuslerp", task_vectors=True)] if copies == 2 else []),
        *([make("model_stock"), make("model_stock", filter_wise=True)] if copies > 1 else []),
        *([make("passthrough"), make("nearswap", t=1.0)] if copies == 1 else []),
    ]
    # theta_0 + (theta - theta_0) is not exact in floating point: one rounding of the larger of the two.
    tolerance = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 4 * torch.finfo(dtype).eps}
    for method in methods:
        merged = method.merge(base, [expert] * copies, name="w")
        torch.testing.assert_close(merged, expert, **tolerance)


@FOR_EACH
@given(seed=st.integers(0, 99))
def test_experts_equal_to_the_base_leave_it_untouched(method, draw, seed) -> None:
    base, _ = draw((40,), seed, torch.bfloat16)
    merged = method.merge(base, fit(method, [base.clone(), base.clone()]), name="w")
    factor = _factor_on_copies(method)
    rtol = 0.0 if factor == 1.0 else torch.finfo(base.dtype).eps
    torch.testing.assert_close(merged.float(), factor * base.float(), rtol=rtol, atol=0.0)


def _factor_on_copies(method: Merge) -> float:
    """Return what copies of one model are multiplied by: 1, but for a method without a base that is told to scale."""
    if method.uses_base or (getattr(method, "normalize", True) and getattr(method, "scale", None) is None):
        return 1.0
    return method.scale if hasattr(method, "scale") else sum(method.weights)


@FAST
@given(seed=st.integers(0, 99), dtype=st.sampled_from(FLOATS))
def test_coefficient_zero_returns_the_base(draw, seed, dtype) -> None:
    base, experts = draw((40,), seed, dtype)
    for name in (name for name, member in MERGES.items() if hasattr(member, "coefficient")):
        parameters = {"density": 0.5} if hasattr(MERGES[name], "density") else {}
        merged = make(name, coefficient=0.0, **parameters).merge(base, experts, name="w")
        assert torch.equal(merged, base), name


@FAST
@given(seed=st.integers(0, 99), weights=st.lists(st.floats(0.1, 2), min_size=2, max_size=2))
def test_density_one_drops_nothing_and_density_zero_drops_all(draw, seed, weights) -> None:
    base, experts = draw((40,), seed)
    plain = make("task_arithmetic", weights=weights).merge(base, experts, name="w")
    for name in ("dare_linear", "breadcrumbs", "della_linear"):
        assert torch.equal(make(name, weights=weights).merge(base, experts, name="w"), plain)
    for name in (name for name, member in MERGES.items() if hasattr(member, "density")):
        assert torch.equal(make(name, density=0.0, weights=weights).merge(base, experts, name="w"), base)
    ties = make("ties", weights=weights, reduce="sum").merge(base, experts, name="w")
    for name in ("dare_ties", "breadcrumbs_ties"):
        assert torch.equal(make(name, weights=weights).merge(base, experts, name="w"), ties)


@FAST
@given(seed=st.integers(0, 99), data=st.data())
def test_the_order_of_the_models_does_not_matter_where_nothing_is_drawn(draw, seed, data) -> None:
    base, experts = draw((50,), seed, experts=3)
    weights = [0.5, 1.0, 0.25]
    order = data.draw(st.permutations(range(3)))
    methods = [
        ("linear", {}),
        ("task_arithmetic", {}),
        ("ties", {"density": 0.4}),
        ("ties", {"density": 0.4, "reduce": "max", "elect": "unweighted"}),
        ("multislerp", {}),
        ("multislerp", {"task_vectors": True}),
        ("breadcrumbs", {"density": 0.4, "gamma": 0.1}),
        ("breadcrumbs_ties", {"density": 0.4, "gamma": 0.1}),
    ]
    for name, parameters in methods:
        there = make(name, weights=weights, **parameters).merge(base, experts, name="w")
        back = make(name, weights=[weights[i] for i in order], **parameters)
        torch.testing.assert_close(back.merge(base, [experts[i] for i in order], name="w"), there, rtol=2e-6, atol=1e-6)


@FAST
@given(seed=st.integers(0, 99))
def test_the_order_of_equal_partners_does_not_matter(draw, seed) -> None:
    base, experts = draw((7, 9), seed, experts=3)
    unweighted = ("karcher", "model_stock", "sce", "ram", "ramplus_tl", "magmax", "consensus", "emr", "pcb")
    for name in (*unweighted, "iso_c", "iso_cts", "tsv_m", "wudi_exact"):
        there = make(name).merge(base, experts, name="w")
        torch.testing.assert_close(make(name).merge(base, experts[::-1], name="w"), there, rtol=2e-6, atol=2e-6)


@FAST
@given(seed=st.integers(0, 99), t=st.floats(0, 1))
def test_slerp_backwards_is_slerp_and_its_ends_are_the_models(draw, seed, t) -> None:
    _, (a, b) = draw((50,), seed, step=1.0)
    forth = make("slerp", t=t).merge(None, [a, b], name="w")
    torch.testing.assert_close(make("slerp", t=1 - t).merge(None, [b, a], name="w"), forth, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(make("slerp", t=0.0).merge(None, [a, b], name="w"), a)
    torch.testing.assert_close(make("slerp", t=1.0).merge(None, [a, b], name="w"), b)


def test_inputs_are_not_changed_and_may_lie_scattered_in_memory(method, draw) -> None:
    base, experts = draw((6, 8))
    experts = fit(method, experts)
    kept = [tensor.clone() for tensor in (base, *experts)]
    straight = method.merge(base, experts, name="w")
    scattered = [tensor.t().contiguous().t() for tensor in (base, *experts)]
    assert not scattered[0].is_contiguous()
    assert torch.equal(method.merge(scattered[0], scattered[1:], name="w"), straight)
    assert all(torch.equal(now, then) for now, then in zip((base, *experts), kept, strict=True))


def test_zero_tensors_single_elements_and_empty_tensors_merge(method) -> None:
    for shape in ((0,), (0, 3), (), (1,), (2, 2)):
        zero = torch.zeros(shape)
        assert torch.equal(method.merge(zero, fit(method, [zero, zero]), name="w"), zero)
        merged = method.merge(zero, fit(method, [torch.ones(shape), zero]), name="w")
        assert merged.shape == zero.shape and torch.isfinite(merged).all()
        merged = method.merge(zero, fit(method, [zero, torch.ones(shape)]), name="w")
        assert merged.shape == zero.shape and torch.isfinite(merged).all()


def test_integer_tensors_are_copied_when_they_agree(method) -> None:
    ids = torch.arange(6).reshape(2, 3)
    assert torch.equal(method.merge(ids, fit(method, [ids.clone(), ids.clone()]), name="position_ids"), ids)


def test_the_output_takes_the_dtype_of_the_base_or_of_the_first_expert(method, draw) -> None:
    base, experts = draw((9,))
    mixed = [experts[0].half(), experts[1].bfloat16()]
    wanted = torch.bfloat16 if method.uses_base else torch.float16
    assert method.merge(base.bfloat16(), fit(method, mixed), name="w").dtype == wanted


def test_thread_count_never_changes_a_bit(method, draw) -> None:
    base, experts = draw((BLOCK + 17,), dtype=torch.bfloat16)
    experts = fit(method, experts)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(method.merge(base, experts, name="w"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties", "della", "della_linear"])
def test_every_part_of_the_key_changes_the_draws(name, draw) -> None:
    base, experts = draw((400,))
    one = experts[:1] * 2
    results = [
        make(name, density=0.5, seed=seed, weights=weights).merge(base, one, name=tensor)
        for seed, tensor, weights in (
            (0, "a", (1.0, 0.0)),
            (1, "a", (1.0, 0.0)),
            (0, "b", (1.0, 0.0)),
            (0, "a", (0.0, 1.0)),
        )
    ]
    assert all(not torch.equal(x, y) for x, y in itertools.combinations(results, 2))
    again = make(name, density=0.5, weights=(1.0, 0.0)).merge(base, one, name="a")
    assert torch.equal(again, results[0])
