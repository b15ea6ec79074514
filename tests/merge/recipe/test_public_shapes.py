"""Shapes of public reports: models and recipes as people publish them; docs/compatibility.md names the reports."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny_models
from recipe_models import layered

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 3, "vocab_size": 10}


def write(
    folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, object] = LLAMA, form: str | None = "pt"
) -> Path:
    folder.mkdir()
    save_file(dict(tensors), folder / "model.safetensors", metadata=None if form is None else {"format": form})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def merged(out: Path) -> dict[str, Tensor]:
    return load_file(out / "model.safetensors")


@pytest.fixture
def merge(run_cli, tmp_path) -> Callable:
    def run(*models: Path, method: str = "linear", options: tuple[str, ...] = (), **more: object):
        rows = [{"model": str(model), "parameters": {"weight": 0.5}} for model in models]
        recipe = {"merge_method": method, "models": rows, **more}
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
        return run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out", "--overwrite", *options)

    return run


@pytest.mark.parametrize(
    "kind", ["slerp", "ties", "dare_ties", "della", "breadcrumbs", "model_stock", "karcher", "sce"]
)
def test_tensors_of_one_number_are_merged_by_every_kind_of_method(merge, tmp_path, kind) -> None:
    """mergekit#660: learned slopes of activations, without an axis or with one of length 1."""
    folders = []
    for number, value in enumerate((1.0, 0.5, 1.5)):
        single = {"model.layers.0.act.alpha": torch.tensor(value), "model.layers.0.act.beta": torch.tensor([value])}
        folders.append(write(tmp_path / str(number), {**layered(number), **single}))
    if kind == "slerp":
        ran = merge(*folders[:2], method=kind, base_model=str(folders[0]), parameters={"t": 0.5})
    else:
        ran = merge(*folders[1:], method=kind, base_model=str(folders[0]))
    assert ran.exit_code == 0, ran.stderr
    found = merged(tmp_path / "out")
    assert found["model.layers.0.act.alpha"].shape == () and found["model.layers.0.act.beta"].shape == (1,)
    assert 0 <= float(found["model.layers.0.act.alpha"]) <= 2


@pytest.mark.parametrize("untie", [False, True])
def test_a_tied_model_may_store_its_embedding_under_the_name_of_the_head_alone(tmp_path, run_cli, untie) -> None:
    """transformers#34759, #38870: loaders read one as the other."""
    plain = [tiny_models.save("llama-mha-tied", tmp_path / f"m{seed}", seed=seed) for seed in (0, 1)]
    values = [load_file(folder / "model.safetensors")[EMBED] for folder in plain]
    odd = plain[1] / "model.safetensors"
    tensors = load_file(odd)
    tensors[HEAD] = tensors.pop(EMBED)
    save_file(tensors, odd, metadata={"format": "pt"})
    for order in (plain, plain[::-1], [plain[1]] * 2):
        words = ("merge", *order, "--method", "linear", "-o", tmp_path / "out", "--overwrite")
        ran = run_cli(*words, *(["--untie"] if untie else []))
        assert ran.exit_code == 0, ran.stderr
        found = merged(tmp_path / "out")
        want = values[1] if order[0] == order[1] else (values[0] + values[1]) / 2
        alike = order[0] == order[1] and not untie  # then nothing needs another name
        assert torch.allclose(found[HEAD if alike else EMBED], want) and (HEAD in found) is (untie or alike)
        assert not untie or torch.equal(found[HEAD], found[EMBED])


def test_heads_whose_labels_have_other_names_are_not_mixed(merge, tmp_path) -> None:
    """Classifiers of one base and two tasks, or of one task with its labels in another order."""

    def classifier(name: str, seed: int, labels: list[str] | None) -> Path:
        tensors = {key: value for key, value in layered(seed).items() if key != HEAD}
        tensors["score.weight"] = torch.full((2, 6), float(seed))
        config = {**LLAMA, "architectures": ["LlamaForSequenceClassification"]}
        names = labels or ["LABEL_0", "LABEL_1"]
        return write(tmp_path / name, tensors, {**config, "id2label": dict(enumerate(names))})

    ours = classifier("ours", 1, ["no", "yes"])
    cases = {"swapped": (["yes", "no"], 1.0), "other": (["cat", "dog"], 1.0), "same": (["no", "yes"], 2.0)}
    for name, (labels, want) in {**cases, "unnamed": (None, 2.0)}.items():
        ran = merge(ours, classifier(name, 3, labels))
        assert ran.exit_code == 0, ran.stderr
        assert merged(tmp_path / "out")["score.weight"].unique().tolist() == [want], name
        assert ("a head for other labels" in ran.stderr) is (want == 1.0)


def test_models_of_other_depths_are_refused_by_their_depths(merge, tmp_path) -> None:
    """mergekit#324, #140: leaving the further layers out would be another model."""
    a = write(tmp_path / "a", layered(0))
    b = write(tmp_path / "b", layered(1, layers=5), {**LLAMA, "num_hidden_layers": 5})
    ran = merge(a, b)
    assert ran.exit_code == 2 and "5 layers, the other 3" in ran.stderr and "slices" in ran.stderr


@pytest.mark.parametrize("form", ["mlx", None, "pt"])
def test_forms_of_weights_that_stock_loaders_read_alike(merge, tmp_path, form) -> None:
    a, b = write(tmp_path / "a", layered(0)), write(tmp_path / "b", layered(1), form=form)
    assert merge(a, b).exit_code == 0


def test_a_limit_without_an_end_is_read_as_transformers_writes_it(merge, tmp_path) -> None:
    """Mamba 2, Falcon H1 and other hybrids: Infinity by transformers 4, a table of one word by transformers 5."""
    older = write(tmp_path / "older", layered(0), {**LLAMA, "time_step_limit": [0.0, float("inf")]})
    newer = write(tmp_path / "newer", layered(1), {**LLAMA, "time_step_limit": [0.0, {"__float__": "Infinity"}]})
    for models in ((older, newer), (newer, older)):
        ran = merge(*models, dtype="float16")
        assert ran.exit_code == 0 and "time_step_limit" not in ran.stderr, ran.stderr
        said = [json.loads((folder / "config.json").read_text()) for folder in (models[0], tmp_path / "out")]
        assert said[0]["time_step_limit"] == said[1]["time_step_limit"]


def test_a_tensor_may_lie_in_a_second_shard_too_with_the_same_bytes(merge, tmp_path) -> None:
    plain, twice = layered(0), layered(1)
    write(tmp_path / "plain", plain)
    names, odd = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)], write(tmp_path / "odd", twice)
    (odd / "model.safetensors").unlink()
    first = sorted(twice)[0]
    save_file({first: twice[first]}, odd / names[0], metadata={"format": "pt"})
    table = {name: names[name != first] for name in twice}
    (odd / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    for copy, code in ((twice[first].clone(), 0), (twice[first] + 1, 2)):
        save_file({**twice, first: copy}, odd / names[1], metadata={"format": "pt"})
        for models in ((tmp_path / "plain", odd), (odd, tmp_path / "plain")):
            ran = merge(*models)
            assert ran.exit_code == code and (not code or "loaders may take either" in ran.stderr), ran.stderr
        if not code:
            files = list((tmp_path / "out").glob("*.safetensors"))
            found = {name: tensor for file in files for name, tensor in load_file(file).items()}
            assert all(torch.allclose(found[name], (plain[name] + twice[name]) / 2) for name in twice)
            assert len(files) == 2


def test_lists_of_pieces_with_a_version_in_their_name_are_carried(merge, tmp_path) -> None:
    """Mistral's ``tokenizer.model.v3``, beside weights of its own tools, which stay behind."""
    a, b = write(tmp_path / "a", layered(0)), write(tmp_path / "b", layered(1))
    (a / "tokenizer.model.v3").write_bytes(b"\n\x03\n\x01x")
    (a / "consolidated.safetensors").write_bytes(b"x")
    ran = merge(a, b)
    assert (tmp_path / "out/tokenizer.model.v3").read_bytes() == b"\n\x03\n\x01x"
    assert "consolidated.safetensors of its folder stay behind" in ran.stderr


@pytest.mark.parametrize("kind", ["dare_linear", "dare_ties", "ties"])
def test_a_density_of_zero_leaves_the_base(merge, tmp_path, kind) -> None:
    """peft#3486, #3530: no quotient of nothing by nothing."""
    base, a, b = (write(tmp_path / name, layered(seed)) for seed, name in enumerate(("base", "a", "b")))
    ran = merge(a, b, method=kind, base_model=str(base), parameters={"density": 0})
    assert ran.exit_code == 0 and "nothing merged" in ran.stderr
    found = merged(tmp_path / "out")
    assert all(torch.equal(found[name], value) for name, value in layered(0).items()) or kind == "ties"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: [{model: A, weight: 0.3}, {model: B, weight: 0.7}]", "what a method takes goes below parameters"),
        ("models: [{model: A, parameters: {weight: [{filter: mlp, value: 1}]}}, {model: B}]", "end a list of filters"),
        ("models: [{model: A}, {model: B}]\nparameters: {weight: 50%}", "give weights as a finite number"),
        ("slices: [{sources: [{model: A, layer_range: [0, -1]}]}]", "the first layer and the one after the last"),
        ("```yaml\nmodels: [{model: A}]\n```", "leave out the lines of ```"),
        ("models:\n\t- model: A", "indent with blanks"),
    ],
)
def test_slips_in_recipes_get_the_way_out(run_cli, tmp_path, text, says) -> None:
    """mergekit#470, #680, #418 and cards of models."""
    for seed, name in enumerate("ab"):
        write(tmp_path / name, layered(seed))
    text = text.replace("model: A", f"model: {tmp_path / 'a'}").replace("model: B", f"model: {tmp_path / 'b'}")
    (tmp_path / "r.yaml").write_text(f"merge_method: linear\n{text}\n" if not text.startswith("`") else text)
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and says in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr


def test_recipes_of_older_releases_and_folders_with_a_slash(merge, tmp_path) -> None:
    """mergekit#139, #442."""
    a, b = write(tmp_path / "a", layered(0)), write(tmp_path / "b", layered(1))
    ran = merge(Path(f"{a}/"), f"{b}//", parameters={"embed_slerp": True})
    assert ran.exit_code == 0 and "embed_slerp has no effect on linear" in ran.stderr


def test_a_seed_among_the_parameters_is_refused_with_its_place(merge, tmp_path) -> None:
    """mergekit#479: mergekit passes over it, so that the draws are others than asked for."""
    ran = merge(write(tmp_path / "a", layered(0)), parameters={"random_seed": 145})
    assert ran.exit_code == 2 and "no parameter 'random_seed'; write it at the top of the recipe" in ran.stderr


def test_an_index_may_list_rotary_buffers_that_no_file_holds(merge, tmp_path) -> None:
    """Indices of the first Llama 2, whose files were saved again since."""
    model = write(tmp_path / "a", layered(1))
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    names = [*layered(1), "model.layers.0.self_attn.rotary_emb.inv_freq"]
    listed = {"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (model / "model.safetensors.index.json").write_text(json.dumps(listed))
    ran = merge(model, write(tmp_path / "b", layered(2)))
    assert ran.exit_code == 0, ran.stderr


def test_a_recipe_of_a_mixture_of_dense_models_is_refused_as_one(run_cli, tmp_path) -> None:
    (tmp_path / "r.yaml").write_text("base_model: a\ngate_mode: hidden\nexperts:\n- source_model: b\n")
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "a mixture of dense models is not made here" in ran.stderr
