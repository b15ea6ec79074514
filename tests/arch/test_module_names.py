"""A state dict saved as the live module names it is read like the file that its class writes."""

import pytest
from safetensors.torch import save_file

import family_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe

RENAMED = ("vit", "dinov2", "gpt_neox", "llava", "gemma3_pictures", "mistral3", "qwen2_vl", "gpt2")


@pytest.mark.parametrize("name", RENAMED)
def test_names_of_the_module_are_those_of_its_file(name, tmp_path):
    written = family_models.save(name, tmp_path / "written")
    (tmp_path / "dumped").mkdir()
    (tmp_path / "dumped" / "config.json").write_bytes((written / "config.json").read_bytes())
    module = family_models.module(name)
    with open_checkpoint(written) as checkpoint:
        described = describe(checkpoint)
        held = {member.canonical for circuit in described.circuits for member in circuit.members}
    tied = {described.table.head} - held
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    state = {key: tensor for key, tensor in state.items() if described.table.canonical(key) not in tied}
    save_file(state, tmp_path / "dumped" / "model.safetensors", {"format": "pt"})
    with open_checkpoint(tmp_path / "dumped") as checkpoint:
        again = {member.canonical for circuit in describe(checkpoint).circuits for member in circuit.members}
    assert again == held
