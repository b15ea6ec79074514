"""The distance of attention from a base: no change of coordinates adds to it, and its slope is that of the formula."""

import pytest
import torch
from test_axis_laws import drawn, elements

import tiny_models
from mergebarrier import symmetry
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe

MODELS = ("llama-gqa-untied", "llama-mqa-biased", "gpt2-tied")


@pytest.fixture(scope="module", params=MODELS)
def attention(request, tmp_path_factory):
    """The first attention of a model, a base and a fine-tune of it in float64."""
    folder = tiny_models.save(request.param, tmp_path_factory.mktemp("far") / request.param)
    with open_checkpoint(folder) as checkpoint:
        circuit = next(one for one in describe(checkpoint).circuits if one.kind == "attn")
        base = {name: checkpoint.read(name).double() for name in circuit.tensors}
    noise = drawn(circuit, {name: tuple(tensor.shape) for name, tensor in base.items()})
    return circuit, base, {name: tensor + 0.02 * noise[name] for name, tensor in base.items()}


def of_products(found):
    return {name: value for name, value in found.items() if name.startswith("products")}


def test_the_base_has_not_moved_and_asks_for_nothing(attention):
    circuit, base, _ = attention
    here = {name: tensor.clone().requires_grad_() for name, tensor in base.items()}
    found = symmetry.displacements(circuit, here, base)
    assert len(of_products(found)) == 2
    assert len(found) in (6, 5)
    assert all(float(one.detach()) <= 1e-12 for one in found.values())
    torch.autograd.backward(sum(found.values()))
    assert all(float(tensor.grad.abs().max()) == 0 for tensor in here.values() if tensor.grad is not None)


def test_a_gauge_inside_the_heads_moves_matrices_and_no_product(attention):
    circuit, base, expert = attention
    inside = {
        one: element
        for one, element in elements(circuit, "full").items()
        if circuit.axis(one).kind in ("basis", "planes")
    }
    moved = symmetry.act(circuit, inside, expert)
    before, after = (symmetry.displacements(circuit, side, base) for side in (expert, moved))
    for name, value in before.items():
        if name.startswith("products"):
            assert float(after[name]) == pytest.approx(float(value), rel=1e-9)
        else:
            assert float(after[name]) > 1.5 * float(value)


def test_a_gain_that_is_traded_with_its_readers_is_no_move(attention):
    circuit, base, _ = attention
    norm = next(one for one in map(circuit.norm_of, circuit.members) if one is not None)
    traded = dict(base)
    factor = torch.linspace(0.5, 2.0, base[norm.name].numel(), dtype=torch.float64)
    traded[norm.name] = base[norm.name] * factor
    for member in circuit.members:
        if circuit.norm_of(member) is not None:
            shape = [1] * base[member.name].dim()
            shape[symmetry.stream_place(member, norm)] = -1
            traded[member.name] = base[member.name] / factor.reshape(shape)
    assert all(float(one) < 1e-7 for one in symmetry.displacements(circuit, traded, base).values())


def test_products_are_as_far_apart_as_when_they_are_written_out(attention):
    """Of values and outputs, head by head, against the formula in plain loops."""
    circuit, base, expert = attention
    found = symmetry.displacements(circuit, expert, base)
    axis = next(axis for axis in symmetry.product_axes(circuit, base) if circuit.axis(axis.one).kind == "basis")
    (direct, dual), (direct0, dual0) = (axis.factors(symmetry.folded_gains(circuit, side)) for side in (expert, base))
    far = near = 0.0
    for d, w, d0, w0 in zip(direct, dual, direct0, dual0, strict=True):
        far += float((w.T @ d - w0.T @ d0).square().sum())
        near += float((w0.T @ d0).square().sum())
    assert float(found[f"products of {axis.one[0]} in {circuit.name}"]) == pytest.approx((far / near) ** 0.5, rel=1e-9)


def test_the_slope_is_that_of_the_differences(attention):
    circuit, base, expert = attention
    here = {name: tensor.clone().requires_grad_() for name, tensor in expert.items()}

    def total(tensors):
        return sum(symmetry.displacements(circuit, tensors, base).values())

    torch.autograd.backward(total(here))
    way = drawn(circuit, {name: tuple(tensor.shape) for name, tensor in base.items()}, seed=3)
    slope = sum(float((here[name].grad * way[name]).sum()) for name in here if here[name].grad is not None)
    step = 1e-6
    ahead, behind = (
        float(total({name: expert[name] + side * step * way[name] for name in expert})) for side in (1, -1)
    )
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-5)
