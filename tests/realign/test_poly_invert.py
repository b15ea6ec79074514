"""MergeBarrier's polynomials fall from the file alone: their shape gives ranges and weights away."""

from pathlib import Path

import pytest
import torch

import mergebarrier as mb
import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import MethodRefused
from mergebarrier.evaluate import compare, load_module
from mergebarrier.protect import MergeBarrier
from mergebarrier.realign import BaseFFN, FlipAgain, GaugeFix, PolyInvert
from mergebarrier.symmetry import feed_forward
from tiny_tokenizer import add_tokenizer, prose


def _written(folder: Path, expert: bool = False, name: str = "llama-mqa-biased", dtype=torch.float32) -> Path:
    save = tiny_models.save_expert if expert else tiny_models.save
    module = tiny_models.build(name)
    save(name, folder)
    module = type(module).from_pretrained(folder).to(dtype)
    module.config.max_position_embeddings = 64
    module.save_pretrained(folder)
    return add_tokenizer(folder)


def _protected(model: Path, out: Path, **parameters: object) -> Path:
    with open_checkpoint(model) as source:
        method = MergeBarrier(ffn="poly", **parameters)
        verbs.protect(source, method, None, verbs.OutputOptions(out), text=prose(80, 64))
    return out


def _realigned(model: Path, out: Path, method, base: Path | None = None) -> Path:
    with open_checkpoint(model) as source:
        if base is None:
            verbs.realign(source, None, method, verbs.OutputOptions(out))
            return out
        with open_checkpoint(base) as anchor:
            verbs.realign(source, anchor, method, verbs.OutputOptions(out))
    return out


def _errors(model: Path, recovered: Path) -> torch.Tensor:
    """Return the relative error of every neuron's column of W_down, whatever the order of the neurons."""
    found = []
    with open_checkpoint(model) as ours, open_checkpoint(recovered) as theirs:
        for circuit in describe(ours).circuits:
            network = feed_forward(circuit)
            if network is not None:
                then, now = (
                    network.parts({name: side.read(name) for name in circuit.tensors})["down"].double()
                    for side in (ours, theirs)
                )
                found.append(torch.cdist(then, now).amin(1) / then.norm(dim=1))
    return torch.cat(found)


@pytest.mark.parametrize(
    ("basis", "name"),
    [
        ("chebyshev", "llama-gqa-untied"),
        ("taylor", "llama-gqa-untied"),
        ("chebyshev", "gpt2-tied"),
        pytest.param("taylor", "gpt2-tied", marks=pytest.mark.slow),
    ],
)
def test_every_column_of_the_second_map_comes_back(name: str, basis: str, tmp_path: Path) -> None:
    model = _written(tmp_path / "model", name=name)
    order = {"order": 16, "tolerance": 0.05} if basis == "taylor" else {}
    out = _protected(model, tmp_path / "out", basis=basis, **order)
    back = _realigned(out, tmp_path / "back", PolyInvert())
    errors = _errors(model, back)
    assert float(errors.median()) <= 1e-5 and float((errors <= 1e-5).double().mean()) >= 0.999
    with open_checkpoint(back) as recovered, open_checkpoint(model) as original:
        assert recovered.config == original.config and recovered.tensors.keys() == original.tensors.keys()


def test_in_bfloat16_every_bit_comes_back_and_the_base_puts_neurons_in_order(tmp_path: Path) -> None:
    base, model = (_written(tmp_path / name, name == "model", dtype=torch.bfloat16) for name in ("base", "model"))
    out = _protected(model, tmp_path / "out")
    unflipped = _realigned(_realigned(out, tmp_path / "1", PolyInvert()), tmp_path / "2", FlipAgain())
    back = _realigned(unflipped, tmp_path / "3", GaugeFix(), base)
    with open_checkpoint(back) as recovered, open_checkpoint(model) as original:
        assert recovered.digests() == original.digests()


def test_the_fallback_keeps_attention_and_loses_what_the_networks_learned(tmp_path: Path, run_cli) -> None:
    base, model = (_written(tmp_path / name, name == "model") for name in ("base", "model"))
    out = _protected(model, tmp_path / "out")
    ran = run_cli("realign", out, "--base", base, "-o", tmp_path / "back", "--method", "base_ffn")
    assert ran.exit_code == 0 and "2 networks of the base" in ran.stdout
    unflipped = _realigned(tmp_path / "back", tmp_path / "flat", FlipAgain())
    with open_checkpoint(unflipped) as found, open_checkpoint(model) as ours, open_checkpoint(base) as theirs:
        for name in ours.tensors:
            torch.testing.assert_close(found.read(name), (theirs if ".mlp." in name else ours).read(name))
        lost = compare(load_module(ours, "float32"), load_module(found, "float32"), torch.arange(4, 60))
    assert 0 < lost.kl_nats < 0.01


def test_what_needs_a_stock_model_or_polynomials_says_so(tmp_path: Path) -> None:
    base, model = (_written(tmp_path / name, name == "model") for name in ("base", "model"))
    out = _protected(model, tmp_path / "out")
    for wrong, method, anchor in ((out, GaugeFix(), base), (model, PolyInvert(), None), (model, BaseFFN(), base)):
        with pytest.raises(MethodRefused, match="polynomials"):
            _realigned(wrong, tmp_path / "back", method, anchor)
    assert not (tmp_path / "back").exists()


def test_published_in_bfloat16_it_keeps_the_function_and_nearly_every_column_comes_back(tmp_path: Path) -> None:
    model = _written(tmp_path / "model", dtype=torch.bfloat16)
    out = _protected(model, tmp_path / "out", ffn_dtype="bfloat16")
    with open_checkpoint(out) as published:
        assert {info.dtype for info in published.tensors.values()} == {"BF16"}
    assert mb.verify(model, out, dtype="bfloat16").equal
    errors = _errors(model, _realigned(out, tmp_path / "back", PolyInvert()))
    assert float(errors.median()) <= 3e-3 and float((errors <= 1e-2).double().mean()) >= 0.98
