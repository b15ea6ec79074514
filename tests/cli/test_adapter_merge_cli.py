"""Every merge takes a base with an adapter for a model: by flags, in recipes, and with all of it in the manifest."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergebarrier.checkpoint import (
    BLAKE3,
    AdaptedCheckpoint,
    open_adapter,
    open_checkpoint,
    read_manifest,
    verify_manifest,
)
from model_folders import write_folder
from peft_adapters import save_adapter
from tiny_models import save

NAME = "llama-gqa-untied"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two adapters of other ranks and targets, and what they make of the base as folders."""
    root = tmp_path_factory.mktemp("world")
    save(NAME, root / "base", dtype=torch.bfloat16)
    save_adapter(root / "a", NAME, 1, r=3, lora_alpha=6, target_modules=["q_proj", "up_proj"])
    save_adapter(root / "b", NAME, 2, r=5, use_rslora=True, target_modules=["up_proj", "o_proj"])
    config = json.loads((root / "base" / "config.json").read_text())
    with open_checkpoint(root / "base") as base:
        for name in "ab":
            with open_adapter(root / name) as adapter:
                expert = AdaptedCheckpoint(base, adapter)
                tensors = {tensor: expert.read(tensor) for tensor in expert.tensors}
                write_folder(root / f"whole_{name}", tensors, config=config)
    return root


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "linear", "karcher"])
def test_an_adapter_with_its_base_merges_like_the_whole_model(method: str, world, tmp_path, run_cli) -> None:
    words = ["--base", world / "base", "--method", method]
    for out, models in (("adapters", ("a", "b")), ("models", ("whole_a", "whole_b"))):
        ran = run_cli("merge", *(world / name for name in models), *words, "-o", tmp_path / out, "--quiet")
        assert ran.exit_code == 0, ran.stderr
    ours, theirs = weights(tmp_path / "adapters"), weights(tmp_path / "models")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert verify_manifest(tmp_path / "adapters") == []


def test_a_recipe_takes_an_adapter_in_every_form(world, tmp_path, run_cli) -> None:
    text = "merge_method: ties\nbase_model: {base}\nparameters: {{weight: 0.5, density: 0.5}}\nmodels:\n"
    forms = {
        "plain": "- model: {base}+{a}\n- model: {base}+{b}\n",
        "alone": "- model: {a}\n- model: {b}\n",
        "mapping": "- model: {{model: {base}, lora: {a}}}\n- model: {{model: {{path: {base}}}, lora: {{path: {b}}}}}\n",
        "whole": "- model: {whole_a}\n- model: {whole_b}\n",
    }
    for form, models in forms.items():
        names = {name: world / name for name in ("base", "a", "b", "whole_a", "whole_b")}
        (tmp_path / f"{form}.yaml").write_text((text + models).format(**names))
        ran = run_cli("merge", tmp_path / f"{form}.yaml", "-o", tmp_path / form, "--quiet")
        assert ran.exit_code == 0, ran.stderr
    merged = [weights(tmp_path / form) for form in forms]
    for name, tensor in merged[-1].items():
        assert all(torch.equal(other[name], tensor) for other in merged), name


def test_the_manifest_lists_base_and_adapters_with_what_they_are(world, tmp_path, run_cli) -> None:
    words = ["--base", world / "base", "--method", "ties", "-o", tmp_path / "out", "--quiet"]
    assert run_cli("merge", world / "a", world / "b", *words).exit_code == 0
    content = read_manifest(tmp_path / "out")["content"]
    found = [(item["role"], item["name"]) for item in content["inputs"]]
    assert found == [("base", "base"), ("expert", "base+a"), ("expert", "base+b"), ("adapter", "a"), ("adapter", "b")]
    base, expert, _, adapter, other = content["inputs"]
    assert expert["content_digest"] != base["content_digest"]
    assert expert["tensors"].keys() == base["tensors"].keys()
    assert adapter["modules"]["model.layers.0.mlp.up_proj"] == [3, 2.0]
    assert other["modules"]["model.layers.0.mlp.up_proj"] == [5, pytest.approx(8 / 5**0.5)]
    with open_adapter(world / "a") as opened:
        assert adapter["tensors"] == opened.weights.digests(hashing=BLAKE3)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base+a" in card and "| adapter | b |" in card
    written = (tmp_path / "out" / "mergebarrier.json").read_text()
    assert str(world) not in written and str(world) not in card


def test_a_folder_whose_literal_name_is_the_reference_wins(world, tmp_path, run_cli, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m+a").symlink_to(world / "whole_a")
    (tmp_path / "m@old").symlink_to(world / "whole_b")
    models = "models: [{model: m+a}, {model: m@old}]"
    (tmp_path / "r.yaml").write_text(f"merge_method: linear\nparameters: {{weight: 1}}\n{models}")
    ran = run_cli("merge", "r.yaml", "-o", "out", "--quiet")
    assert ran.exit_code == 0, ran.stderr


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("{base}@main", "the revision 'main' of a local folder is not known; tried {base}"),
        ("{base}+{a}@v2", "the revision 'v2' of a local folder is not known; tried {a}"),
        ("{base}+nowhere", "there is no such folder; tried"),
        ("{a}", "this is an adapter, not a whole model; name its base too"),
        ("{base}+{whole_a}", "adapter_config.json is missing"),
    ],
)
def test_a_reference_that_cannot_be_read_says_what_was_tried(model, says, world, tmp_path, run_cli) -> None:
    names = {name: world / name for name in ("base", "a", "whole_a")}
    (tmp_path / "r.yaml").write_text(f"merge_method: linear\nmodels: [{{model: '{model.format(**names)}'}}]\n")
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and says.format(**names)[:150] in ran.stderr, ran.stderr
    assert not (tmp_path / "out").exists()


def test_adapters_that_name_other_bases_are_put_on_the_one_given_with_a_warning(world, tmp_path, run_cli) -> None:
    for name, base in (("a", "org/one"), ("b", "./elsewhere/two/")):
        shutil.copytree(world / name, tmp_path / name)
        config = json.loads((world / name / "adapter_config.json").read_text()) | {"base_model_name_or_path": base}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
    words = ["--base", world / "base", "--method", "task_arithmetic", "-o", tmp_path / "out"]
    ran = run_cli("merge", tmp_path / "a", tmp_path / "b", *words)
    assert ran.exit_code == 0
    assert "adapters of different bases: a was trained on org/one, b was trained on two" in ran.stderr
    alone = run_cli("merge", tmp_path / "a", *words[:4], "-o", tmp_path / "alone")
    assert "a was trained on org/one, and is put on base" in alone.stderr
    assert (
        run_cli("merge", world / "a", world / "b", *words[:4], "-o", tmp_path / "same").stderr.count("trained on") == 0
    )


def test_an_adapter_without_a_base_is_wrong_usage(world, tmp_path, run_cli) -> None:
    ran = run_cli("merge", world / "a", world / "b", "--method", "linear", "-o", tmp_path / "out")
    assert ran.exit_code == 64 and "give --base" in ran.stderr
