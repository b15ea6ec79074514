"""Every space keeps the same laws: written once, held by each member on each kind of element."""

import hashlib

import pytest
import torch

from mergebarrier import symmetry
from mergebarrier.arch import Circuit, Dims, Rule
from mergebarrier.keys import Key, KeyStream

ATTENTION = ("q", "k", "v", "o")
SHAPES = {
    "rope-gqa": Dims(24, 40, 50, 1, 0, 6, 2, 8, rotary=True, gated=True, centred=False),
    "rope-mqa": Dims(24, 40, 50, 1, 0, 4, 1, 6, rotary=True, gated=True, centred=False),
    "plain-mha": Dims(24, 40, 50, 1, 32, 4, 4, 6, rotary=False, gated=False, centred=True),
    "plain-gqa": Dims(24, 40, 50, 1, 32, 6, 3, 4, rotary=False, gated=False, centred=True),
}


def circuits(dims: Dims) -> dict[str, Circuit]:
    roles = {"attn": ATTENTION, "mlp": ("gate", "up", "down") if dims.gated else ("fc1", "fc2")}
    made = {}
    for kind, members in roles.items():
        parts = ["norm.weight", *(["norm.bias"] if dims.centred else [])]
        parts += [f"{role}.{end}" for role in members for end in ("weight", "bias")]
        rules = tuple(Rule(part, kind, (part,)) for part in parts)
        made[kind] = Circuit(f"layers.0.{kind}", tuple(parts), rules, dims)
    made["embed"] = Circuit("embed", ("embed.weight",), (Rule("e", "embed", ("embed.weight",)),), dims)
    return made


def random_tensors(circuit: Circuit, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        part: torch.randn(circuit.logical_shape(part), generator=generator, dtype=torch.float64).to(dtype)
        for part in circuit.logical
    }


def members() -> list[tuple[str, str, str]]:
    return [
        (shape, circuit.kind, space)
        for shape, dims in SHAPES.items()
        for circuit in circuits(dims).values()
        for space in symmetry.spaces(circuit)
    ]


def setup(shape: str, kind: str, space: str, profile: str, secret: int = 1):
    circuit = circuits(SHAPES[shape])[kind]
    the_space = symmetry.spaces(circuit)[space]

    def draw(purpose: str) -> KeyStream:
        return KeyStream(hashlib.sha256(f"{secret}/{purpose}".encode()).digest())

    return circuit, the_space, the_space.sample(draw, profile=profile, condition=3.0)


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[k].double() - b[k].double()).abs().max() / b[k].double().abs().max()) for k in a)


every_member = pytest.mark.parametrize(("shape", "kind", "space"), members())
every_profile = pytest.mark.parametrize("profile", symmetry.PROFILES)


@every_profile
@every_member
def test_the_inverse_undoes_what_act_did(shape, kind, space, profile):
    circuit, the_space, element = setup(shape, kind, space, profile)
    tensors = random_tensors(circuit)
    moved = the_space.act(element, tensors)
    assert distance(moved, tensors) > 0.1
    assert distance(the_space.act(the_space.inverse(element), moved), tensors) < 1e-12
    assert distance(the_space.act(the_space.inverse(the_space.inverse(element)), tensors), moved) < 1e-12


@every_member
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_lossless_elements_keep_dtype_and_restore_every_bit(shape, kind, space, dtype):
    circuit, the_space, element = setup(shape, kind, space, "lossless")
    assert the_space.bit_exact(element)
    tensors = random_tensors(circuit, dtype)
    for tensor in tensors.values():
        tensor.view(-1)[::7] = -0.0
    moved = the_space.act(element, tensors)
    back = the_space.act(the_space.inverse(element), moved)
    words = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}[dtype]
    for name, tensor in tensors.items():
        assert moved[name].dtype == dtype
        assert torch.equal(back[name].contiguous().view(words), tensor.view(words)), name


@every_profile
@every_member
def test_composition_is_doing_one_after_the_other(shape, kind, space, profile):
    circuit, the_space, first = setup(shape, kind, space, profile, secret=1)
    _, _, second = setup(shape, kind, space, profile, secret=2)
    tensors = random_tensors(circuit)
    one_by_one = the_space.act(second, the_space.act(first, tensors))
    assert distance(the_space.act(the_space.compose(second, first), tensors), one_by_one) < 1e-12
    assert distance(the_space.act(the_space.compose(the_space.inverse(first), first), tensors), tensors) < 1e-12


@every_member
def test_the_identity_moves_nothing(shape, kind, space):
    circuit, the_space, _ = setup(shape, kind, space, "lossless")
    tensors = random_tensors(circuit)
    moved = the_space.act(the_space.identity(), tensors)
    assert all(torch.equal(moved[name], tensors[name]) for name in tensors)


@every_profile
@every_member
def test_invariants_do_not_change(shape, kind, space, profile):
    circuit, the_space, element = setup(shape, kind, space, profile)
    tensors = random_tensors(circuit)
    before, after = the_space.invariants(tensors), the_space.invariants(the_space.act(element, tensors))
    assert before.keys() == after.keys() and before
    for name, value in before.items():
        assert float((after[name] - value).abs().max()) < 1e-10 * float(value.abs().max()), name


@every_profile
@every_member
def test_estimate_recovers_the_element_that_acted(shape, kind, space, profile):
    circuit, the_space, element = setup(shape, kind, space, profile)
    tensors = random_tensors(circuit)
    moved = the_space.act(element, tensors)
    found = the_space.estimate(moved, tensors)
    assert distance(the_space.act(found, tensors), moved) < 1e-8
    exactly = the_space.bit_exact(element)
    assert exactly or profile == "full"
    assert distance(the_space.act(the_space.inverse(found), moved), tensors) <= (0.0 if exactly else 1e-8)


@every_member
def test_estimate_is_the_identity_where_nothing_acted(shape, kind, space):
    circuit, the_space, _ = setup(shape, kind, space, "lossless")
    tensors, noise = random_tensors(circuit), random_tensors(circuit, seed=9)
    near = {name: tensor + 0.01 * noise[name] for name, tensor in tensors.items()}
    moved = the_space.act(the_space.estimate(near, tensors), near)
    assert all(torch.equal(moved[name], near[name]) for name in near)


def test_bounded_condition_number_of_sampled_maps():
    elements = {member: setup(*member, "full")[2] for member in members()}
    maps = {member: element.forward for member, element in elements.items() if hasattr(element, "forward")}
    # Heads that turn by position leave query and key no general map.
    both = {(shape, "attn", "value_output") for shape in SHAPES}
    assert maps.keys() == both | {(shape, "attn", "query_key") for shape in SHAPES if not SHAPES[shape].rotary}
    for member, matrix in maps.items():
        assert 1.5 < float(torch.linalg.cond(matrix).max()) < 3.0 + 1e-9, member


def test_gauges_survive_the_way_through_tensors():
    key = Key(bytes(range(32)))
    streams = key.streams("ab" * 32, "exact")
    for dims in SHAPES.values():
        for circuit in circuits(dims).values():
            for profile in symmetry.PROFILES:
                elements = symmetry.sample(
                    circuit, streams, only=frozenset(symmetry.spaces(circuit)), profile=profile, condition=3.0
                )
                stored = symmetry.Gauge({circuit.name: elements}).to_tensors()
                tensors = random_tensors(circuit)
                again = symmetry.Gauge.from_tensors(stored).elements[circuit.name]
                first, second = (symmetry.act(circuit, side, tensors) for side in (elements, again))
                assert all(torch.equal(first[name], second[name]) for name in first)
                undone = symmetry.act_inverse(circuit, elements, first)
                assert distance(undone, tensors) < 1e-12
