"""Stacks of experts are realigned entry by entry, and a norm knows them as its readers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import family_models
from mergebarrier import verbs
from mergebarrier.checkpoint import Checkpoint, open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.keys import Key
from mergebarrier.protect import Exact
from mergebarrier.realign import GaugeFix
from mergebarrier.realign.realignment import broadcast, norms
from mergebarrier.symmetry import Reverted, entry_of, sample, stream_place
from mergebarrier.symmetry.blocks import weights
from spellings import fused_experts, respelled

KEY = Key(bytes([7]) * 32)


def stored(name: str, folder: Path, root: Path) -> Path:
    """Give a folder with experts in one tensor each; GPT-OSS stores nothing else."""
    return folder if name in ("gpt_oss", "llama", "gemma") else respelled(folder, root / "fused", fused_experts)


@pytest.mark.parametrize("name", ["gpt_oss", "qwen3_moe", "mixtral"])
def test_entries_are_those_of_the_whole(name, tmp_path):
    seen = 0
    with open_checkpoint(stored(name, family_models.save(name, tmp_path / "model"), tmp_path)) as model:
        spaces = describe(model).spaces
        for circuit in describe(model).circuits:
            drawn = sample(circuit, KEY.streams("0" * 64, "exact"), only=spaces, profile="lossless", condition=3.0)
            tensors = {tensor: model.read(tensor) for tensor in circuit.tensors}
            moved = Reverted(circuit, drawn, tensors)
            for member in circuit.members:
                for number in range(circuit.sizes[member.stack] if member.stack else 0):
                    assert torch.equal(moved.entry(member.name, number), moved[member.name][number])
                    assert torch.equal(entry_of(tensors, member.name, number), tensors[member.name][number])
                    seen += 1
            for one in circuit.instances:
                for rows in weights(circuit, one, moved, tensors, lambda other: True):
                    for both, whole in zip(rows.entries(), zip(rows.now, rows.then, strict=True), strict=True):
                        assert all(map(torch.equal, both, whole))
    assert seen


class Watched:
    """A checkpoint that keeps the shapes of what is read whole."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.tensors, self.path, self.whole = checkpoint, checkpoint.tensors, checkpoint.path, []
        self.read_rows = checkpoint.read_rows

    def read(self, name: str) -> torch.Tensor:
        assert len(self.tensors[name].shape) < 3
        self.whole.append(self.tensors[name].shape)
        return self.checkpoint.read(name)


@pytest.mark.parametrize("name", ["gpt_oss", "qwen3_moe", "mixtral"])
def test_a_fit_reads_no_stack_whole_and_finds_the_key(name, tmp_path):
    base = stored(name, family_models.save(name, tmp_path / "base"), tmp_path)
    with open_checkpoint(base) as model:
        verbs.protect(model, Exact(), KEY, verbs.OutputOptions(tmp_path / "protected"))
    with open_checkpoint(tmp_path / "protected") as model, open_checkpoint(base) as anchor:
        watched = [Watched(model), Watched(anchor)]
        fitted = GaugeFix().fit(describe(model), *watched)
        assert {len(shape) for side in watched for shape in side.whole} == {1, 2}
        for circuit in describe(model).circuits:
            tensors = {one: model.read(one) for one in circuit.tensors}
            given = {one: anchor.read(one) for one in circuit.tensors}
            found = family_models.joined(fitted.apply(circuit, tensors, given))
            assert all(torch.equal(tensor, given[one]) for one, tensor in found.items())


@pytest.mark.parametrize("name", ["llama", "gemma", "gpt_oss", "qwen3_moe", "mixtral"])
def test_gains_that_were_traded_come_back(name, tmp_path):
    base = stored(name, family_models.save(name, tmp_path / "base"), tmp_path)
    tensors = load_file(base / "model.safetensors")
    with open_checkpoint(base) as model:
        architecture = describe(model)
    offset, traded = architecture.table.offset, dict(tensors)
    for circuit in architecture.circuits:
        for norm in norms(circuit):
            factor = 2.0 ** (torch.arange(len(tensors[norm.name])) % 3)
            traded[norm.name] = (tensors[norm.name] + offset) * factor - offset
            for reader in circuit.members:
                if circuit.norm_of(reader) is norm:
                    weight = tensors[reader.name]
                    traded[reader.name] = weight / broadcast(factor, stream_place(reader, norm), weight.dim())
    stacks = [one for one, tensor in traded.items() if tensor.dim() == 3 and not torch.equal(tensor, tensors[one])]
    assert bool(stacks) == (name not in ("llama", "gemma"))
    other = respelled(base, tmp_path / "traded", lambda given: {**traded, "a": torch.ones(1)})
    save_file(traded, other / "model.safetensors", {"format": "pt"})
    with open_checkpoint(other) as model, open_checkpoint(base) as anchor:
        verbs.realign(model, anchor, GaugeFix(), verbs.OutputOptions(tmp_path / "realigned"))
    for one, tensor in load_file(tmp_path / "realigned" / "model.safetensors").items():
        torch.testing.assert_close(tensor, tensors[one], rtol=1e-5, atol=1e-6)
