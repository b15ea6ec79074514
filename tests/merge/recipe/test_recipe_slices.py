"""Slices stack layers of several models into one, rewrite its configuration, and refuse what cannot fit."""

import json
from contextlib import ExitStack

import pytest
import torch
from safetensors.torch import load_file

from mergebarrier.checkpoint import open_checkpoint, verify_manifest
from mergebarrier.errors import (
    BadMergeParameter,
    BadRecipe,
    ConfigMismatch,
    MergebarrierError,
    ShapeMismatch,
    TensorSetMismatch,
)
from mergebarrier.merge.recipe import plan
from mergebarrier.merge.recipe.layers import LayerPlace, embeds, locate, stacks, with_dtype
from mergebarrier.merge.recipe.recipe import parse
from recipe_models import layered

UP = "model.layers.{}.mlp.up_proj.weight"
STACK = """
merge_method: linear
slices:
  - sources: [{model: A, layer_range: [0, 2]}]
  - sources: [{model: B, layer_range: [1, 3]}]
  - sources: [{model: A, layer_range: [0, 1]}, {model: B, layer_range: [2, 3]}]
parameters: {weight: 1}
"""


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.7.mlp.up_proj.weight", LayerPlace("model.layers", 7, "mlp.up_proj.weight")),
        ("h.0.attn.bias", LayerPlace("h", 0, "attn.bias")),
        ("model.layers.1.mlp.experts.3.w1.weight", LayerPlace("model.layers", 1, "mlp.experts.3.w1.weight")),
        ("model.norm.weight", None),
        ("0.weight", None),
        ("model.layers.3", None),
        ("model.layers.x3.weight", None),
        ("model.layers.³.weight", None),
    ],
)
def test_a_layer_is_the_first_number_of_a_name(name, place) -> None:
    assert locate(name) == place


def test_embeddings_come_before_the_layers() -> None:
    before = ["model.embed_tokens.weight", "transformer.wte.weight", "wpe.weight", "bert.embeddings.LayerNorm.weight"]
    assert all(embeds(name) for name in before)
    assert not any(embeds(name) for name in ("lm_head.weight", "model.norm.weight", "transformer.ln_f.bias"))


def test_several_stacks_are_told_apart() -> None:
    names = ["encoder.layers.0.w", "encoder.layers.3.w", "decoder.layers.1.w", "x.w"]
    assert stacks(names) == {"encoder.layers": 4, "decoder.layers": 2}


def test_the_stored_dtype_is_said_wherever_it_stands() -> None:
    config = {"torch_dtype": "float32", "text_config": {"dtype": "float32", "x": 1}, "dtype_note": "keep"}
    changed = {"torch_dtype": "bfloat16", "text_config": {"dtype": "bfloat16", "x": 1}, "dtype_note": "keep"}
    assert with_dtype(config, "bfloat16") == changed
    assert with_dtype({}, "float16") == {"dtype": "float16"}


def test_layers_are_stacked_and_counted(run_cli, save, tmp_path) -> None:
    models = {"A": layered(1), "B": layered(2)}
    more = {"num_hidden_layers": 3, "layer_types": ["p", "q", "r"], "tie_word_embeddings": False}
    folders = {name: save(name, model, **more) for name, model in models.items()}
    recipe = tmp_path / "stack.yaml"
    recipe.write_text(STACK.replace("model: A", f"model: {folders['A']}").replace("model: B", f"model: {folders['B']}"))
    ran = run_cli("merge", recipe, "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    merged, (a, b) = load_file(tmp_path / "out" / "model.safetensors"), models.values()
    origin = {0: a[UP.format(0)], 1: a[UP.format(1)], 2: b[UP.format(1)], 3: b[UP.format(2)]}
    origin[4] = (a[UP.format(0)] + b[UP.format(2)]) / 2
    assert all(torch.equal(merged[UP.format(layer)], tensor) for layer, tensor in origin.items())
    assert torch.equal(merged["model.embed_tokens.weight"], a["model.embed_tokens.weight"])
    assert torch.equal(merged["lm_head.weight"], (a["lm_head.weight"] + b["lm_head.weight"]) / 2)
    assert len(merged) == 3 + 5 * 2
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_hidden_layers"] == 5 and config["layer_types"] == ["p", "q", "q", "r", "p"]
    assert verify_manifest(tmp_path / "out") == []


def test_a_model_is_stacked_on_itself_with_some_matrices_scaled(run_cli, save, tmp_path) -> None:
    model = layered(1)
    folder = save("a", model, num_hidden_layers=3, tie_word_embeddings=False)
    scaled = "parameters: {scale: [{filter: up_proj, value: 0.5}, {value: 1}]}"
    rows = (f"{{model: {folder}, layer_range: [0, 2]}}", f"{{model: {folder}, layer_range: [1, 3], {scaled}}}")
    (tmp_path / "r.yaml").write_text(
        "merge_method: passthrough\nslices:\n" + "".join(f"  - sources: [{row}]\n" for row in rows)
    )
    assert run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out").exit_code == 0
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(merged[UP.format(1)], model[UP.format(1)])
    assert torch.equal(merged[UP.format(2)], model[UP.format(1)] * 0.5)
    assert torch.equal(merged["model.layers.3.norm.weight"], model["model.layers.2.norm.weight"])


def test_a_longer_model_fills_more_shards_of_the_same_size(run_cli, save, tmp_path) -> None:
    model = layered(1)
    names = list(model)
    shards = [{name: model[name] for name in part} for part in (names[:5], names[5:])]
    folder = save("a", *shards, num_hidden_layers=3, tie_word_embeddings=False)
    recipe = tmp_path / "stack.yml"
    rows = "".join(f"  - sources: [{{model: {folder}, layer_range: [0, 3]}}]\n" for _ in range(4))
    recipe.write_text(f"merge_method: linear\nparameters: {{weight: 1}}\nslices:\n{rows}")
    assert run_cli("merge", recipe, "-o", tmp_path / "out").exit_code == 0
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    merged = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert len(files) > 2 and files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert torch.equal(merged[UP.format(11)], model[UP.format(2)]) and verify_manifest(tmp_path / "out") == []


@pytest.fixture
def lay(save):
    """Return ``lay(text, name=tensors or (tensors, config), ...)``: a plan over models of these names."""
    with ExitStack() as stack:

        def run(text: str, **models):
            opened = {}
            for name, model in models.items():
                tensors, config = model if isinstance(model, tuple) else (model, {})
                folder = save(name, tensors, **{"tie_word_embeddings": False, **config})
                opened[name] = stack.enter_context(open_checkpoint(folder))
            recipe = parse(text.encode(), "r")
            return plan(recipe, {reference: opened[reference.path] for reference in recipe.references()})

        yield run


def without(model: dict, *names: str) -> dict:
    return {name: tensor for name, tensor in model.items() if name not in names}


def test_what_does_not_fit_is_refused(lay) -> None:
    short = {name: tensor for name, tensor in layered(2).items() if ".2." not in name}
    cases: list[tuple[type[MergebarrierError], str, dict]] = [
        (BadRecipe, r"B: layer_range \[1, 3\] ends after its 2 layers", {"A": layered(1), "B": short}),
        (TensorSetMismatch, "B1 lacks lm_head", {"A": layered(1), "B": without(layered(2), "lm_head.weight")}),
        (TensorSetMismatch, r"layer 2 holds other tensors", {"A": layered(1), "B": without(layered(2), UP.format(2))}),
        (ShapeMismatch, "up_proj", {"A": layered(1), "B": layered(2) | {UP.format(1): torch.ones(12, 7)}}),
        (ConfigMismatch, "n_head is 3", {"A": (layered(1), {"n_head": 2}), "B": (layered(2), {"n_head": 3})}),
        (BadRecipe, "one stack of layers, found", {"A": layered(1) | {"x.0.w": torch.ones(1)}, "B": layered(2)}),
    ]
    for index, (kind, says, models) in enumerate(cases):
        text = STACK
        renamed = {}
        for name, model in models.items():
            text = text.replace(f"model: {name},", f"model: {name}{index},")
            renamed[f"{name}{index}"] = model
        with pytest.raises(kind, match=says.replace("B:", f"B{index}:")):
            lay(text, **renamed)


def test_the_base_must_be_in_every_slice_and_no_model_twice(lay) -> None:
    text = STACK.replace("linear", "ties\nbase_model: C")
    with pytest.raises(BadRecipe, match="the base is not among the sources of the slice"):
        lay(text, A=layered(1), B=layered(2), C=layered(3))
    twice = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: D}, {model: D}]"
    with pytest.raises(BadRecipe, match="D: is listed twice"):
        lay(twice, D=layered(1))


def test_a_base_that_gives_no_layer_still_gives_the_configuration(lay) -> None:
    text = STACK.replace("linear", "linear\nbase_model: C")
    planned = lay(text, A=layered(1), B=layered(2), C=(layered(3), {"num_hidden_layers": 3, "note": 1}))
    assert planned.donor.path.name == "C" and planned.config["note"] == 1 and planned.config["num_hidden_layers"] == 5
    assert [planned.role(model) for model in planned.models] == ["donor", "expert", "expert"]


def test_the_models_of_every_slice_are_counted(lay) -> None:
    text = """
merge_method: slerp
slices:
  - sources: [{model: A, layer_range: [0, 1]}, {model: B, layer_range: [0, 1]}]
  - sources: [{model: A, layer_range: [1, 2]}]
parameters: {t: 0.5}
"""
    with pytest.raises(BadMergeParameter, match=r"layers\.1\..*got 1 experts, takes exactly 2"):
        lay(text, A=layered(1), B=layered(2))


def test_weights_of_a_tensor_that_is_copied_may_cancel(lay) -> None:
    model = layered(1) | {"model.position_ids": torch.arange(10)}
    text = """
merge_method: linear
models: [{model: A}, {model: B}]
parameters: {weight: [{filter: position_ids, value: 0}, {value: 1}]}
"""
    planned = lay(text, A=model, B=layered(2) | {"model.position_ids": torch.arange(10)})
    (unit,) = planned.units
    merged = planned.apply(unit, [{name: view.read(name) for name in unit.tensors} for view in planned.sources])
    assert torch.equal(merged["model.position_ids"], torch.arange(10))
    with pytest.raises(BadMergeParameter, match="sum to zero"):
        lay(text.replace("A", "C").replace("B", "D").replace("position_ids", "up_proj"), C=layered(1), D=layered(2))
