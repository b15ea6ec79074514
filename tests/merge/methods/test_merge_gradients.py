"""Gradients through a merge: right where a method has them, finite where its formula bends, none elsewhere."""

import pytest
import torch

from merge_models import fit
from mergebarrier.merge import MERGES, make


def asking(*tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def test_gradients_are_those_of_finite_differences_or_there_are_none(method, draw) -> None:
    base, experts = draw((4, 3), 5, torch.float64, step=1.0)
    operands = asking(*([base] if method.uses_base else []), *fit(method, experts))

    def merged(*given):
        start, rest = (given[0], given[1:]) if method.uses_base else (None, given)
        return method.merge(start, rest, name="w")

    if method.differentiable:
        assert torch.autograd.gradcheck(merged, operands)
    else:
        assert not merged(*operands).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_asking_for_gradients_changes_no_value(method, draw, dtype) -> None:
    base, experts = draw((40,), 5, dtype)
    plain = method.merge(base, fit(method, experts), name="w", block=7)
    traced = method.merge(*asking(base), asking(*fit(method, experts)), name="w", block=7)
    torch.testing.assert_close(traced.detach(), plain, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
    with torch.no_grad():
        assert not method.merge(*asking(base), asking(*fit(method, experts)), name="w").requires_grad


def test_a_frozen_operand_gets_no_gradient() -> None:
    frozen, moving = torch.ones(3), torch.ones(3, requires_grad=True)
    make("linear", weights=(0.25, 0.75)).merge(None, [frozen, moving], name="w").sum().backward()
    assert frozen.grad is None and torch.equal(moving.grad, torch.full((3,), 0.75))


#: Tensors at which an angle, or its derivative, is not defined.
BENT = {
    "equal": ([1.0, 2.0, 0.5], [1.0, 2.0, 0.5]),
    "parallel": ([1.0, 2.0, 0.5], [2.0, 4.0, 1.0]),
    "opposite": ([1.0, 2.0, 0.5], [-1.0, -2.0, -0.5]),
    "one zero": ([1.0, 2.0, 0.5], [0.0, 0.0, 0.0]),
    "both zero": ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
}


SMOOTH = [
    make("linear"),
    make("task_arithmetic"),
    make("passthrough", scale=0.5),
    make("slerp", t=0.3),
    make("nuslerp"),
    make("nuslerp", task_vectors=True),
    make("nuslerp", flatten=False),
    make("nuslerp", flatten=False, row_wise=True),
    make("multislerp"),
    make("multislerp", task_vectors=True),
    make("karcher"),
    make("model_stock"),
    make("model_stock", filter_wise=True),
]


def test_every_differentiable_method_is_bent_below() -> None:
    assert {method.name for method in SMOOTH} == {name for name, kind in MERGES.items() if kind.differentiable}


@pytest.mark.parametrize("bent", BENT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_stay_finite_where_a_formula_bends(bent, dtype) -> None:
    for start in (torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype)):
        for smooth in SMOOTH:
            moved = [start * smooth.uses_base + torch.tensor(values, dtype=dtype) for values in BENT[bent]]
            experts, (base,) = asking(*fit(smooth, moved)), asking(start)
            smooth.merge(base, experts, name="w").sum().backward()
            gradients = [tensor.grad for tensor in (base, *experts) if tensor.grad is not None]
            assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients), (smooth, start)
