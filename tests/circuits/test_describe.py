"""A checkpoint is named tensor by tensor, or refused with the name of what does not fit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import (
    ArchError,
    ConfigMismatch,
    MissingTensor,
    UnknownFamily,
    UnknownTensor,
    UnsupportedFeature,
)
from mergebarrier.symmetry import fold, unfold

every_config = pytest.mark.parametrize("name", tiny_models.CONFIGS)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return tiny_models.save("llama-gqa-untied", tmp_path / "llama")


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def refused(folder: Path, kind: type[ArchError]) -> str:
    with open_checkpoint(folder) as checkpoint, pytest.raises(kind) as caught:
        describe(checkpoint)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value) and caught.value.remedy
    return str(caught.value)


@every_config
def test_every_tensor_lies_in_exactly_one_circuit(name, tmp_path):
    with open_checkpoint(tiny_models.save(name, tmp_path)) as checkpoint:
        architecture = describe(checkpoint)
        named = [tensor for circuit in architecture.circuits for tensor in circuit.tensors]
        assert sorted(named) == sorted(checkpoint.tensors) and len(set(named)) == len(named)
        assert architecture.tied == ("lm_head.weight" not in checkpoint.tensors)
        kinds = [circuit.kind for circuit in architecture.circuits]
        assert kinds.count("attn") == kinds.count("mlp") == architecture.dims["n_layers"]


@every_config
def test_folding_is_the_inverse_of_unfolding(name, tmp_path):
    with open_checkpoint(tiny_models.save(name, tmp_path, dtype=torch.bfloat16)) as checkpoint:
        for circuit in describe(checkpoint).circuits:
            for member in circuit.members:
                tensor = checkpoint.read(member.name)
                parts = unfold(tensor, member.nodes, circuit.sizes)
                for factors, view in parts:
                    known = [
                        circuit.sizes[factor.axis] if factor.axis else size
                        for factor, size in zip(factors, view.shape, strict=True)
                    ]
                    assert list(view.shape) == known
                assert torch.equal(fold(iter([view for _, view in parts]).__next__, member.nodes), tensor)


def test_fused_and_transposed_gpt2_tensors_are_read_as_the_stock_class_reads_them(tmp_path):
    module = tiny_models.build("gpt2-tied")
    module.save_pretrained(tmp_path)
    block = module.transformer.h[1]
    with open_checkpoint(tmp_path) as checkpoint:
        circuit = describe(checkpoint).circuit("layers.1.attn")
        name = "transformer.h.1.attn.c_attn"
        members = {member.canonical: member for member in circuit.members}
        weight, bias = (
            [
                view
                for _, view in unfold(checkpoint.read(f"{name}.{end}"), members[f"{name}.{end}"].nodes, circuit.sizes)
            ]
            for end in ("weight", "bias")
        )
    x = torch.randn(3, 48)
    query, key, value = block.attn.c_attn(x).split(48, dim=1)
    for part, expected in enumerate((query, key, value)):
        assert weight[part].shape == (48, 4, 12)
        torch.testing.assert_close(x @ weight[part].flatten(1) + bias[part].flatten(), expected)


def test_gpt2_files_without_prefix_are_read(tmp_path):
    folder = tiny_models.save("gpt2-tied", tmp_path)

    def strip(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)

    edit_tensors(folder, strip)
    with open_checkpoint(folder) as checkpoint:
        architecture = describe(checkpoint)
    assert architecture.verbatim == ("h.0.attn.bias",)


def test_an_unknown_family_is_refused(llama):
    edit_config(llama, model_type="rwkv")
    assert "rwkv" in refused(llama, UnknownFamily)
    edit_config(llama, model_type="llama", architectures=["LlamaForTokenClassification"])
    assert "LlamaForTokenClassification" in refused(llama, UnknownFamily)


def test_an_unknown_tensor_is_named(llama):
    edit_tensors(llama, lambda tensors: tensors.update({"model.layers.0.self_attn.q_norm.weight": torch.ones(12)}))
    assert "model.layers.0.self_attn.q_norm.weight" in refused(llama, UnknownTensor)


def test_a_missing_tensor_is_named(llama):
    edit_tensors(llama, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    assert "model.layers.1.mlp.up_proj.weight" in refused(llama, MissingTensor)


def test_an_untied_head_must_be_there(llama):
    edit_config(llama, tie_word_embeddings=False)
    edit_tensors(llama, lambda tensors: tensors.pop("lm_head.weight"))
    assert "lm_head.weight" in refused(llama, MissingTensor)


def test_config_and_tensor_that_disagree_are_both_quoted(llama):
    edit_config(llama, intermediate_size=80)
    message = refused(llama, ConfigMismatch)
    assert "(80, 48)" in message and "(72, 48)" in message and "gate_proj" in message


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"num_key_value_heads": 4}, ConfigMismatch, "6 query heads"),
        ({"num_hidden_layers": -1}, ConfigMismatch, "num_hidden_layers"),
        ({"hidden_size": "many"}, ConfigMismatch, "hidden_size"),
        ({"clip_qkv": 8.0}, UnsupportedFeature, "clip_qkv"),
        ({"partial_rotary_factor": 0.5}, UnsupportedFeature, "partial_rotary_factor"),
        ({"head_dim": 9}, ConfigMismatch, "odd"),
    ],
)
def test_configurations_outside_the_table_are_refused(llama, changes, kind, word):
    edit_config(llama, **changes)
    assert word in refused(llama, kind)
