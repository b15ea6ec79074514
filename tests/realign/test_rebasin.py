"""Weight matching gives back what was permuted, bit for bit, and nothing that was turned, scaled or mixed."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_models
from mergebarrier import symmetry, verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import UsageError
from mergebarrier.keys import Key
from mergebarrier.protect import Exact, MergeLock
from mergebarrier.realign import Rebasin

every_config = pytest.mark.parametrize("name", tiny_models.CONFIGS)


def shuffled(folder, out):
    """Write a model with every stream, every head and every neuron in another place."""
    generator = torch.Generator().manual_seed(3)
    with open_checkpoint(folder) as model:
        tensors, elements = {}, {}
        for circuit in describe(model).circuits:
            for one in circuit.instances:
                if circuit.axis(one).kind in ("basis", "planes") or one in elements:
                    continue
                batch, n = 1, circuit.sizes[one[0]]
                for name in circuit.batches[one]:
                    batch *= circuit.sizes[name]
                perm = torch.stack([torch.randperm(n, generator=generator) for _ in range(batch)])
                elements[one] = symmetry.Monomial(perm, torch.ones(batch, n, dtype=torch.float64))
            here = {one: elements[one] for one in circuit.instances if one in elements}
            tensors |= symmetry.act(circuit, here, {name: model.read(name) for name in circuit.tensors})
        tensors |= {name: model.read(name) for name in describe(model).verbatim}
    out.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / "model.safetensors")
    (out / "config.json").write_bytes((folder / "config.json").read_bytes())
    return out


def matched(model, base, out, method=None):
    with open_checkpoint(model) as source, open_checkpoint(base) as anchor:
        return out, verbs.realign(source, anchor, method or Rebasin(), verbs.OutputOptions(out))[1]


@every_config
def test_orders_come_back_bit_for_bit(name, tmp_path):
    base = tiny_models.save(name, tmp_path / "base")
    expert = tiny_models.save_expert(name, tmp_path / "expert", step=0.02)
    found, diagnostics = matched(shuffled(expert, tmp_path / "shuffled"), base, tmp_path / "out")
    ours, theirs = load_file(expert / "model.safetensors"), load_file(found / "model.safetensors")
    assert all(torch.equal(ours[tensor], theirs[tensor]) for tensor in ours)
    assert (
        diagnostics["converged"] and diagnostics["mean_cosine_before"] < 0.3 < 0.99 < diagnostics["mean_cosine_after"]
    )


@every_config
def test_an_unprotected_model_is_left_alone(name, tmp_path):
    base = tiny_models.save(name, tmp_path / "base")
    expert = tiny_models.save_expert(name, tmp_path / "expert")
    found, diagnostics = matched(expert, base, tmp_path / "out")
    assert diagnostics["spaces_moved"] == []
    assert (found / "model.safetensors").read_bytes() == (expert / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", [Exact(profile="full"), MergeLock()], ids=["exact", "mergelock"])
def test_dense_keys_stay(method, tmp_path):
    base = tiny_models.save("llama-gqa-untied", tmp_path / "base")
    expert = tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert")
    with open_checkpoint(expert) as source:
        verbs.protect(source, method, Key(bytes(32)), verbs.OutputOptions(tmp_path / "hidden"))
    found, diagnostics = matched(tmp_path / "hidden", base, tmp_path / "out")
    attention = [circuit["cosine_after"] for name, circuit in diagnostics["circuits"].items() if "attn" in name]
    assert max(attention) < 0.9, "orders explain no basis of a head"
    error = tiny_models.relative_error(tiny_models.logits(found), tiny_models.logits(expert))
    assert error < 1e-5, "the function is kept whatever is found"


def test_it_says_that_it_needs_the_base(tmp_path):
    with open_checkpoint(tiny_models.save("qwen2", tmp_path / "model")) as model:
        with pytest.raises(UsageError, match="rebasin needs the public base"):
            verbs.realign(model, None, Rebasin(), verbs.OutputOptions(tmp_path / "out"))
