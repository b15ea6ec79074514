"""MergeBarrier's attention part: bit-identical under RoPE, its own inverse, refused where it would break a model."""

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import MethodRefused
from mergebarrier.protect import MergeBarrier
from mergebarrier.realign import FlipAgain, GaugeFix
from mergebarrier.symmetry import act, flips, reflections, unfold

rotary = pytest.mark.parametrize("name", [name for name in tiny_models.CONFIGS if "gpt2" not in name])
plain = pytest.mark.parametrize("name", [name for name in tiny_models.CONFIGS if "gpt2" in name])


def attention(folder):
    with open_checkpoint(folder) as checkpoint:
        circuit = describe(checkpoint).circuit("layers.0.attn")
        return circuit, {name: checkpoint.read(name) for name in circuit.tensors}


def heads(circuit, tensors, role: str) -> torch.Tensor:
    """Return the rows of one projection as [groups, heads of a group, entries, columns], the bias as a last column."""
    sides = []
    for member in circuit.members:
        if f".{role}_proj." in member.canonical:
            ((_, view),) = unfold(tensors[member.name].double(), member.nodes, circuit.sizes)
            view = view if role == "q" else view[:, None]
            sides.append(view if member.canonical.endswith("weight") else view[..., None])
    return torch.cat(sides, dim=-1)


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@rotary
def test_flips_change_no_bit_of_the_logits(name, dtype, tmp_path, protect):
    folder = tiny_models.save(name, tmp_path / "model", dtype=dtype)
    out = protect(folder, MergeBarrier(), key=None)
    assert torch.equal(tiny_models.logits(out, dtype=dtype), tiny_models.logits(folder, dtype=dtype))


@rotary
def test_twice_is_the_identity_without_any_key(name, tmp_path, protect, unprotect):
    folder = tiny_models.save(name, tmp_path / "model", dtype=torch.bfloat16)
    once = protect(folder, MergeBarrier(), key=None)
    twice = protect(once, MergeBarrier(), key=None)
    original, flipped, back = (load_file(side / "model.safetensors") for side in (folder, once, twice))
    assert any(not torch.equal(original[n], flipped[n]) for n in original)
    assert all(torch.equal(original[n].view(torch.int16), back[n].view(torch.int16)) for n in original)
    restored = load_file(unprotect(once, key=None) / "model.safetensors")
    assert all(torch.equal(original[n], restored[n]) for n in original)


@pytest.mark.parametrize("name", tiny_models.CONFIGS)
def test_drawn_flips_are_undone_by_key_or_base_and_not_from_the_file_alone(name, tmp_path, protect, unprotect):
    base = tiny_models.save(name, tmp_path / "base")
    expert = tiny_models.save_expert(name, tmp_path / "expert")
    out, other = (protect(expert, MergeBarrier(select="keyed"), key=key) for key in (1, 2))
    assert torch.equal(tiny_models.logits(out), tiny_models.logits(expert))
    assert (out / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()
    back = [tmp_path / "alone", tmp_path / "realigned", unprotect(out, key=1)]
    with open_checkpoint(out) as model, open_checkpoint(base) as anchor:
        verbs.realign(model, None, FlipAgain(), verbs.OutputOptions(back[0]))
        verbs.realign(model, anchor, GaugeFix(), verbs.OutputOptions(back[1]))
    ours = load_file(expert / "model.safetensors")
    undone = [all(torch.equal(ours[n], side[n]) for n in ours) for side in map(weights, back)]
    assert undone == [False, True, True]


@rotary
def test_displacement_is_four_times_the_flipped_energy(name, tmp_path):
    circuit, tensors = attention(tiny_models.save(name, tmp_path / "model"))
    tensors = {part: tensor.double() for part, tensor in tensors.items()}
    found = flips(circuit, tensors, 0.5)
    flipped = found["q", ("0",)].z == -1
    width = circuit.sizes["q"]
    assert flipped.sum(1).unique().tolist() == [width // 4]
    moved = act(circuit, found, tensors)
    displacement = sum(float((moved[p] - tensors[p]).square().sum()) for p in tensors)

    def energy(role: str) -> torch.Tensor:
        rows = heads(circuit, tensors, role).square().sum((1, 3))
        return rows.reshape(-1, 2, width // 2).sum(1)

    total = energy("q") + energy("k")
    assert displacement == pytest.approx(4 * float(total[flipped].sum()), rel=1e-10)
    kept = total.masked_fill(flipped, 0).amax(1)
    assert bool((total.masked_fill(~flipped, float("inf")).amin(1) >= kept).all())


@rotary
def test_the_literal_form_would_break_a_rotary_model_and_is_refused(name, tmp_path, protect):
    folder = tiny_models.save(name, tmp_path / "model")
    with pytest.raises(MethodRefused, match="rotary") as refused:
        protect(folder, MergeBarrier(form="literal"), key=None)
    assert 0.1 < float(refused.value.what.split("off by ")[1].split()[0]) < 2, "what it would have done was measured"
    assert not (tmp_path / "protected-1").exists()
    circuit, tensors = attention(folder)
    groups, width = circuit.sizes["g"], circuit.sizes["q"]
    both = torch.cat([heads(circuit, tensors, role).transpose(1, 2).flatten(2) for role in "qk"], dim=2)
    mirror = reflections(both, 0.5)
    module = tiny_models.build(name)
    reference = module(torch.arange(20)[None]).logits.detach()
    first = module.model.layers[0].self_attn
    with torch.no_grad():
        query = first.q_proj.weight.reshape(groups, -1, width, first.q_proj.weight.shape[1]).double()
        key = first.k_proj.weight.reshape(groups, width, -1).double()
        first.q_proj.weight.copy_((mirror.forward[:, None] @ query).reshape(first.q_proj.weight.shape))
        first.k_proj.weight.copy_((mirror.forward @ key).reshape(first.k_proj.weight.shape))
    broken = module(torch.arange(20)[None]).logits.detach()
    assert tiny_models.relative_error(broken, reference) > 1e-2


def test_planes_are_refused_where_there_are_none(tmp_path, protect):
    with pytest.raises(MethodRefused, match="no rotary planes"):
        protect(tiny_models.save("gpt2-tied", tmp_path / "model"), MergeBarrier(form="planes"), key=None)
