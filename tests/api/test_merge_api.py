"""``mb.merge`` writes what the command line writes, and its reports are the documents of ``--json``."""

import pytest
import torch
from safetensors.torch import load_file

import mergebarrier as mb
from documents import checked
from mergebarrier.api import explain_merge, plan_merge
from mergebarrier.errors import UsageError
from recipe_models import layered

FILE = "model.safetensors"


@pytest.fixture
def folders(save):
    return [save(name, layered(seed), tie_word_embeddings=False) for seed, name in enumerate(("base", "a", "b"))]


@pytest.fixture
def recipe(folders, tmp_path):
    base, a, b = folders
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"merge_method: ties\nbase_model: {base}\nparameters: {{density: 0.5, weight: 1}}\n"
        f"models:\n  - model: {a}\n  - model: {b}\n"
    )
    return path


def test_models_and_a_method_give_what_the_flags_give(folders, run_cli, tmp_path) -> None:
    base, *models = folders
    report = mb.merge(models, tmp_path / "out", base=base, method=mb.Ties(density=0.5))
    words = ("--base", base, "--method", "ties", "--density", "0.5", "--json")
    document = run_cli("merge", *models, *words, "-o", tmp_path / "other").json
    assert checked(report.to_dict()) == {**document, "out": str(tmp_path / "out")}
    assert [row["role"] for row in report.rows()] == ["base", "expert", "expert"] and not report.suspect


def test_opened_models_and_a_name_are_taken_too(folders, tmp_path) -> None:
    base, *models = folders
    steps: list[tuple[int, int]] = []
    with mb.open_checkpoint(base) as opened:
        options = mb.MergeOptions(seed=7)
        report = mb.merge(
            [str(models[0]), models[1]],
            tmp_path / "out",
            base=opened,
            method="dare_linear",
            options=options,
            progress=lambda done, total: steps.append((done, total)),
        )
        assert opened.tensors, "what was given open stays open"
    assert report.content["parameters"]["seed"] == 7 and steps and steps[-1][0] == steps[-1][1]


def test_a_recipe_gives_what_the_command_gives(recipe, run_cli, tmp_path) -> None:
    report = mb.merge(recipe=recipe, out=tmp_path / "out")
    document = run_cli("merge", recipe, "-o", tmp_path / "other", "--json").json
    assert checked(report.to_dict()) == {**document, "out": str(tmp_path / "out")}


def test_a_plan_and_an_explanation_are_the_documents_of_their_options(recipe, run_cli, tmp_path) -> None:
    request = mb.MergeRequest(recipe=recipe)
    planned = run_cli("merge", recipe, "--dry-run", "-o", tmp_path / "out", "--json").json
    assert checked(plan_merge(request).to_dict()) == planned
    explained = explain_merge(request)
    assert checked(explained.to_dict()) == run_cli("merge", recipe, "--explain", "--json").json
    assert len(explained.rows()) == len(explained.tensors) and not (tmp_path / "out").exists()


def test_layers_that_are_merged_alike_stand_on_one_line(recipe, run_cli) -> None:
    told = run_cli("merge", recipe, "--explain").stdout.splitlines()
    heads = [line for line in told if not line.startswith(" ")]
    assert "model.layers.0-2.mlp.up_proj.weight: ties depth=0 to 1 F32 -> F32" in heads
    assert len(heads) == len({line.split(":")[0] for line in heads}) < len(load_file(recipe.parent / "a" / FILE))


def test_a_layer_that_is_merged_otherwise_stands_alone(recipe, run_cli) -> None:
    recipe.write_text(recipe.read_text().replace("weight: 1}", "weight: [0, 1]}"))
    told = run_cli("merge", recipe, "--explain").stdout
    assert "model.layers.0.mlp.up_proj.weight: ties depth=0 " in told and "layers.0-" not in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"method": "ties"}, "out: the output folder is missing"),
        ({"out": "OUT"}, "method: is missing"),
        ({"out": "OUT", "recipe": "r.yaml", "method": "ties"}, "cannot be combined with a recipe"),
        ({"out": "OUT", "method": "regmean"}, "regmean learns from data"),
    ],
)
def test_what_is_no_request_is_refused(arguments, says, folders, tmp_path) -> None:
    given = {name: tmp_path / "out" if value == "OUT" else value for name, value in arguments.items()}
    models = () if "recipe" in given else folders[1:]
    with pytest.raises(UsageError) as refused:
        mb.merge(models, **given)
    assert says in str(refused.value) and not (tmp_path / "out").exists()


def test_a_merge_of_python_computes_what_its_method_says(folders, tmp_path) -> None:
    base, *models = (load_file(folder / FILE) for folder in folders)
    method = mb.TaskArithmetic(coefficient=0.5)
    mb.merge(folders[1:], tmp_path / "out", base=folders[0], method=method)
    merged = load_file(tmp_path / "out" / FILE)
    for name, before in base.items():
        assert torch.equal(merged[name], method.merge(before, [model[name] for model in models], name=name)), name
