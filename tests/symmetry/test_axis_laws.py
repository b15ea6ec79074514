"""Every axis of every table keeps the same laws: written once, held by each on each kind of element."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tiny_models
from mergebarrier import symmetry
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import Circuit, describe
from mergebarrier.keys import Key, KeyStream

NOISE = 0.01
every_config = pytest.mark.parametrize("name", tiny_models.CONFIGS)
every_profile = pytest.mark.parametrize("profile", symmetry.PROFILES)
WORDS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


@pytest.fixture(scope="module")
def circuits(tmp_path_factory) -> dict[str, tuple[list[Circuit], dict[str, tuple[int, ...]]]]:
    """Name of a tiny model -> its first circuits (each kind once), and the shapes of its tensors."""
    made = {}
    for name in tiny_models.CONFIGS:
        folder: Path = tiny_models.save(name, tmp_path_factory.mktemp("axes") / name)
        with open_checkpoint(folder) as checkpoint:
            found = {circuit.kind: circuit for circuit in reversed(describe(checkpoint).circuits)}
            shapes = {tensor: tuple(info.shape) for tensor, info in checkpoint.tensors.items()}
            made[name] = (list(found.values()), shapes)
    return made


def drawn(circuit: Circuit, shapes, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shapes[name], generator=generator, dtype=torch.float64).to(dtype) for name in circuit.tensors
    }


def elements(circuit: Circuit, profile: str, secret: int = 1) -> symmetry.Elements:
    def streams(place: str, purpose: str) -> KeyStream:
        return KeyStream(hashlib.sha256(f"{secret}/{place}/{purpose}".encode()).digest())

    only = {circuit.axis(one).space for one in circuit.instances}
    return symmetry.sample(circuit, streams, only=only, profile=profile, condition=3.0)


def alone(circuit: Circuit, found: symmetry.Elements) -> Iterator[symmetry.Elements]:
    """Yield each element by itself, and all of them together."""
    yield from ({one: element} for one, element in found.items())
    yield found


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[k].double() - b[k].double()).abs().max() / b[k].double().abs().max()) for k in a)


def moves(found: symmetry.Elements) -> bool:
    return any(not element.is_identity() for element in found.values())


@every_profile
@every_config
def test_the_inverse_undoes_what_act_did(name, profile, circuits):
    moved_at_all = 0
    for circuit in circuits[name][0]:
        tensors = drawn(circuit, circuits[name][1])
        for found in alone(circuit, elements(circuit, profile)):
            moved = symmetry.act(circuit, found, tensors)
            assert (distance(moved, tensors) > 0.1) is moves(found)
            moved_at_all += moves(found)
            assert distance(symmetry.act_inverse(circuit, found, moved), tensors) < 1e-12
            twice = symmetry.inverted(circuit, symmetry.inverted(circuit, found))
            assert distance(symmetry.act(circuit, twice, tensors), moved) < 1e-12
    assert moved_at_all >= 8


@every_config
@pytest.mark.parametrize("dtype", WORDS)
def test_lossless_elements_keep_dtype_and_restore_every_bit(name, dtype, circuits):
    for circuit in circuits[name][0]:
        tensors = drawn(circuit, circuits[name][1], dtype)
        for tensor in tensors.values():
            tensor.view(-1)[::7] = -0.0
        found = elements(circuit, "lossless")
        assert symmetry.bit_exact(found)
        moved = symmetry.act(circuit, found, tensors)
        back = symmetry.act_inverse(circuit, found, moved)
        for tensor in circuit.tensors:
            assert moved[tensor].dtype == dtype
            assert torch.equal(back[tensor].contiguous().view(WORDS[dtype]), tensors[tensor].view(WORDS[dtype])), tensor


@every_profile
@every_config
def test_composition_is_doing_one_after_the_other(name, profile, circuits):
    for circuit in circuits[name][0]:
        tensors = drawn(circuit, circuits[name][1])
        first, second = (elements(circuit, profile, secret) for secret in (1, 2))
        one_by_one = symmetry.act(circuit, second, symmetry.act(circuit, first, tensors))
        both = symmetry.composed(circuit, second, first)
        assert distance(symmetry.act(circuit, both, tensors), one_by_one) < 1e-12
        nothing = symmetry.composed(circuit, symmetry.inverted(circuit, first), first)
        assert distance(symmetry.act(circuit, nothing, tensors), tensors) < 1e-12


@every_config
def test_without_elements_nothing_moves(name, circuits):
    for circuit in circuits[name][0]:
        tensors = drawn(circuit, circuits[name][1])
        moved = symmetry.act(circuit, {}, tensors)
        assert all(torch.equal(moved[tensor], tensors[tensor]) for tensor in tensors)


@every_profile
@every_config
def test_invariants_do_not_change(name, profile, circuits):
    seen = 0
    for circuit in circuits[name][0]:
        tensors = drawn(circuit, circuits[name][1])
        for one, element in elements(circuit, profile).items():
            before = symmetry.invariants(circuit, one, tensors)
            after = symmetry.invariants(circuit, one, symmetry.act(circuit, {one: element}, tensors))
            assert before.keys() == after.keys()
            for key, value in before.items():
                assert float((after[key] - value).abs().max()) < 1e-10 * float(value.abs().max()), (one, key)
                seen += 1
    assert seen >= 8


@every_profile
@every_config
def test_estimate_recovers_the_elements_that_acted(name, profile, circuits):
    for circuit in circuits[name][0]:
        streams = {one: element for one, element in elements(circuit, profile).items() if not circuit.axis(one).scope}
        inner = {one: element for one, element in elements(circuit, profile).items() if circuit.axis(one).scope}
        tensors = drawn(circuit, circuits[name][1])
        moved = symmetry.act(circuit, inner, tensors)
        found = symmetry.estimate(circuit, moved, tensors, known=dict.fromkeys(streams, symmetry.identity(1, 1)))
        assert found.keys() == inner.keys()
        assert distance(symmetry.act(circuit, found, tensors), moved) < 1e-8
        if symmetry.bit_exact(inner):
            back = symmetry.act_inverse(circuit, found, moved)
            assert all(torch.equal(back[tensor], tensors[tensor]) for tensor in tensors)


@every_config
def test_estimate_is_the_identity_where_nothing_acted(name, circuits):
    for circuit in circuits[name][0]:
        tensors, noise = (drawn(circuit, circuits[name][1], seed=seed) for seed in (0, 9))
        near = {tensor: value + NOISE * noise[tensor] for tensor, value in tensors.items()}
        streams = [one for one in circuit.instances if not circuit.axis(one).scope]
        found = symmetry.estimate(circuit, near, tensors, known=dict.fromkeys(streams, symmetry.identity(1, 1)))
        moved = symmetry.act(circuit, found, near)
        assert all(torch.equal(moved[tensor], near[tensor]) for tensor in near)


@every_config
def test_streams_are_recognised_in_the_vocabulary(name, circuits):
    circuit = next(one for one in circuits[name][0] if one.rowwise)
    tensors = drawn(circuit, circuits[name][1])
    (one, element), *_ = elements(circuit, "lossless").items()
    moved = symmetry.act(circuit, {one: element}, tensors)
    sides = [symmetry.matrix(next(symmetry.blocks(circuit, side)), one[0], ())[0].T for side in (moved, tensors)]
    found = symmetry.signed_order(symmetry.Correlation.of(*sides), circuit.axis(one).kind)
    assert torch.equal(found.perm, element.perm) and torch.equal(found.factor, element.factor)


def test_bounded_condition_number_of_sampled_maps(circuits):
    maps = [
        element.forward
        for found, _ in circuits.values()
        for circuit in found
        for element in elements(circuit, "full").values()
        if isinstance(element, symmetry.LinearMap)
    ]
    assert len(maps) >= 6
    assert all(float(torch.linalg.cond(matrix).max()) < 3.0 + 1e-9 for matrix in maps)


def test_a_key_gives_the_same_elements_to_every_circuit_that_shares_them(circuits):
    streams = Key(bytes(range(32))).streams("ab" * 32, "exact")
    for found, _ in circuits.values():
        shared = [
            symmetry.sample(circuit, streams, only={"residual"}, profile="lossless", condition=3.0)[("d", ())]
            for circuit in found
        ]
        assert len(shared) >= 3 and all(torch.equal(one.perm, shared[0].perm) for one in shared)
