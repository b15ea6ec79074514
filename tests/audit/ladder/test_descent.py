"""Steps on a gauge: they follow the gradient of what they move, find a swapped pair, and never touch the function."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

import tiny_models
from mergebarrier import symmetry
from mergebarrier.audit.ladder.descent import GaugeDescent
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.evaluate import load_module, parameter_names

FAMILIES = ["llama-gqa-untied", "llama-mqa-biased", "gpt2-tied"]


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_lower_what_they_follow_and_leave_the_function(family: str, tmp_path: Path) -> None:
    folder = tiny_models.save(family, tmp_path / "model")
    draw, moved_kinds = torch.Generator().manual_seed(0), set()
    with open_checkpoint(folder) as model:
        module = load_module(model, "float32")
        ids = torch.arange(24).view(3, 8)
        before = module(ids).logits
        names, parameters = parameter_names(module, model.tensors), dict(module.named_parameters())
        for circuit in describe(model).circuits:
            start = {name: model.read(name).double() for name in circuit.tensors}
            goal = {name: value + 0.3 * torch.randn(value.shape, generator=draw) for name, value in start.items()}
            descent, now = GaugeDescent(circuit=circuit, rate=2e-3), start
            apart = [sum(float((now[name] - goal[name]).square().sum()) for name in now)]
            for _ in range(8):
                if not descent.step(now, {name: now[name] - goal[name] for name in now}):
                    break
                now = {name: value.double() for name, value in symmetry.act(circuit, descent.elements, start).items()}
                apart.append(sum(float((now[name] - goal[name]).square().sum()) for name in now))
            assert all(later <= earlier for earlier, later in pairwise(apart)), circuit.name
            moved_kinds |= {
                circuit.axis(one).kind for one, one_is in descent.elements.items() if not one_is.is_identity()
            }
            for name, value in now.items():
                if name in names:
                    parameters[names[name]].data.copy_(value)
        torch.testing.assert_close(module(ids).logits, before, rtol=1e-4, atol=1e-5)
    assert moved_kinds >= ({"basis"} if family == "gpt2-tied" else {"basis", "planes", "glu"})


def test_two_neurons_that_changed_places_are_found(tmp_path: Path) -> None:
    with open_checkpoint(tiny_models.save("llama-gqa-untied", tmp_path / "model")) as model:
        circuit = next(one for one in describe(model).circuits if one.kind == "mlp")
        goal = {name: model.read(name) for name in circuit.tensors}
        (neurons,) = [one for one in circuit.instances if circuit.axis(one).space == "neurons"]
        order = torch.arange(circuit.sizes[neurons[0]])
        order[[3, 7]] = order[[7, 3]]
        swap = {neurons: symmetry.Monomial(order[None], torch.ones(1, len(order), dtype=torch.float64))}
        start = now = symmetry.act(circuit, swap, goal)
        descent = GaugeDescent(circuit=circuit, rate=1e-4)
        for _ in range(30):
            descent.step(now, {name: now[name] - goal[name] for name in now})
            now = symmetry.act(circuit, descent.elements, start)
        assert torch.equal(descent.elements[neurons].perm[0], order)
