"""Neurons are matched through a sketch of one matrix, and come out as the full match of all matrices has them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.symmetry.blocks import ActedRows, weights
from mergebarrier.symmetry.matching import cosines
from mergebarrier.symmetry.pairing import pair

#: Narrow enough that every matrix of a tiny model is sketched.
WIDTH = 8


def full_match(rows: list[ActedRows]) -> list[torch.Tensor]:
    """Return the permutations by all exact cosines of all matrices."""
    found = []
    for entry in range(len(rows[0].now)):
        score = sum(
            cosine.abs() if row.factor.scaled else cosine
            for row in rows
            for cosine in [cosines(row.now[entry], row.then[entry])]
        )
        found.append(torch.from_numpy(linear_sum_assignment(score.numpy(), maximize=True)[1]))
    return found


def moved(tensors: dict[str, torch.Tensor], step: float, seed: int) -> dict[str, torch.Tensor]:
    """Add a random step of a size relative to each tensor."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor + step * tensor.std().nan_to_num() * torch.randn(tensor.shape, generator=generator)
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize("step", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("name", tiny_models.CONFIGS)
def test_the_sketch_finds_the_permutations_of_the_full_match(name, step, tmp_path):
    compared = 0
    with open_checkpoint(tiny_models.save(name, tmp_path / "model")) as model:
        for circuit in describe(model).circuits:
            then = {tensor: model.read(tensor).float() for tensor in circuit.tensors}
            now = moved(then, step, seed=3)
            for one in circuit.instances:
                rows = weights(circuit, one, now, then, lambda other: True)
                if circuit.axis(one).kind in ("order", "glu") and circuit.axis(one).space == "neurons" and rows:
                    perms, sums = pair(rows, width=WIDTH)
                    assert all(map(torch.equal, perms, full_match(rows)))
                    assert all(len(entries) == len(perms) for entries in sums)
                    compared += 1
    assert compared


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), twins=st.integers(0, 12), silent=st.integers(0, 3), step=st.floats(0.0, 0.6))
def test_neurons_that_resemble_each_other_are_told_apart_as_the_full_match_does(seed, twins, silent, step, tiny_mlp):
    circuit, one, shapes = tiny_mlp
    generator = torch.Generator().manual_seed(seed)
    then = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name, tensor in then.items():
        rows = tensor.T if "down" in name else tensor
        if rows.dim() == 2 and len(rows) >= 16:
            rows[:twins] = rows[-1] + 0.1 * rows[:twins]
            rows[20 : 20 + silent] = 0.0
    now = moved(then, step, seed + 1)
    rows = weights(circuit, one, now, then, lambda other: True)
    score = sum(
        cosine.abs() if row.factor.scaled else cosine for row in rows for cosine in [cosines(row.now[0], row.then[0])]
    )
    (perm,), _ = pair(rows, width=WIDTH)
    (best,) = full_match(rows)
    index = torch.arange(len(perm))
    assert torch.equal(perm.sort().values, index)
    # Twins may tie: the total is what both maximise.
    assert float(score[index, perm].sum()) >= float(score[index, best].sum()) - 1e-4


@pytest.fixture(scope="module")
def tiny_mlp(tmp_path_factory):
    """A gated MLP: its circuit, its order of neurons, and the shapes of its tensors."""
    with open_checkpoint(tiny_models.save("llama-gqa-untied", tmp_path_factory.mktemp("mlp") / "model")) as model:
        circuit = next(circuit for circuit in describe(model).circuits if circuit.kind == "mlp")
        one = next(one for one in circuit.instances if circuit.axis(one).kind == "glu")
        return circuit, one, {name: tuple(model.tensors[name].shape) for name in circuit.tensors}
