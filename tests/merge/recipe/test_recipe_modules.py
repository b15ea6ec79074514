"""A model with two stacks of layers is merged module by module, each with models or slices of its own."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mergebarrier.merge import make

TEXT, SIGHT = "language_model.model.layers.{}.mlp.weight", "vision_tower.encoder.layers.{}.mlp.weight"
CONFIG = {
    "tie_word_embeddings": False,
    "text_config": {"num_hidden_layers": 2, "layer_types": ["full", "sliding"]},
    "vision_config": {"num_hidden_layers": 2},
}


def seeing(seed: int) -> dict[str, torch.Tensor]:
    """Return a model with a vision tower, a projector and a language model."""
    names = [form.format(layer) for form in (TEXT, SIGHT) for layer in range(2)]
    names += ["projector.weight", "language_model.lm_head.weight", "vision_tower.norm.weight"]
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(4, 3, generator=generator) for name in names}


@pytest.fixture
def world(save, tmp_path):
    models = {name: seeing(seed) for seed, name in enumerate("ab")}
    folders = {name: save(name, model, **CONFIG) for name, model in models.items()}

    def write(modules: dict, **more: object):
        text = json.dumps({"merge_method": "linear", "modules": modules, **more})
        for name, folder in folders.items():
            text = text.replace(f'"model": "{name}"', f'"model": "{folder}"')
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(json.loads(text)))
        return tmp_path / "recipe.yaml"

    return models, write


def weighed(*weights: float) -> list[dict]:
    return [{"model": n, "parameters": {"weight": w}} for n, w in zip("ab", weights, strict=True)]


def test_each_module_has_its_own_models_and_parameters(run_cli, world, tmp_path) -> None:
    models, write = world
    modules = {
        "vision_tower": {"models": weighed(1, 3), "parameters": {"normalize": False}},
        "text_decoder": {"models": weighed(0.5, 0.5)},  # a part of no name: what is left
    }
    ran = run_cli("merge", write(modules), "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert merged.keys() == models["a"].keys()
    for name, tensor in merged.items():
        seen = name.startswith("vision_tower")
        method = make("linear", weights=(1.0, 3.0) if seen else (0.5, 0.5), normalize=not seen)
        assert torch.equal(tensor, method.merge(None, [models["a"][name], models["b"][name]], name=name)), name
    assert json.loads((tmp_path / "out" / "config.json").read_text())["text_config"] == CONFIG["text_config"]


def test_layers_of_one_stack_are_stacked_and_the_other_is_left(run_cli, world, tmp_path) -> None:
    models, write = world
    slices = [
        {"sources": [{"model": "a", "layer_range": [0, 2]}]},
        {"sources": [{"model": "b", "layer_range": [1, 2]}]},
    ]
    modules = {"vision_tower": {"models": weighed(0, 1)}, "language_model": {"slices": slices}}
    modules["projector"] = {"models": weighed(1, 0)}
    ran = run_cli("merge", write(modules, parameters={"weight": 1}), "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(merged[TEXT.format(2)], models["b"][TEXT.format(1)])
    assert torch.equal(merged[SIGHT.format(1)], models["b"][SIGHT.format(1)]) and SIGHT.format(2) not in merged
    assert torch.equal(merged["projector.weight"], models["a"]["projector.weight"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["text_config"] == {"num_hidden_layers": 3, "layer_types": ["full", "sliding", "sliding"]}
    assert config["vision_config"] == CONFIG["vision_config"]
    content = json.loads((tmp_path / "out" / "mergebarrier.json").read_text())["content"]
    assert list(content["recipe"]["modules"]) == ["language_model", "projector", "vision_tower"]


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ({"vision_tower": 1, "projector": 1}, "language_model.lm_head.weight belongs to none"),
        ({"vision_tower": 1, "eyes": 1, "ears": 1}, "no tensor belongs to eyes"),
        ({"vision_tower": 1, "language_model": 1, "projector": 1, "ears": 1}, "no tensor belongs to ears"),
        ({"vision_tower": 1, "language_model": 0}, "needs either models or slices"),
        ({}, "modules: not a table of modules"),
    ],
)
def test_modules_that_do_not_fit_the_model_are_refused(run_cli, world, tmp_path, modules, says) -> None:
    _, write = world
    told = {name: {"models": weighed(1, 1)} if there else {"parameters": {}} for name, there in modules.items()}
    ran = run_cli("merge", write(told), "-o", tmp_path / "out")
    assert ran.exit_code == 2 and says in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr
