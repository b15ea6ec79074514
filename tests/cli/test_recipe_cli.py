"""``merge CONFIG.yaml`` writes what the recipe says and how it was made; ``--explain`` tells it and writes nothing."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mergebarrier.checkpoint import read_manifest, verify_manifest
from mergebarrier.merge import make
from recipe_models import layered

UP = "model.layers.1.mlp.up_proj.weight"
TOKENS = {"model": {"vocab": {"x": 0, "y": 1}}, "added_tokens": [{"id": 2, "content": "<s>"}]}
BODY = """
merge_method: ties
base_model: BASE
models:
  - {model: A, parameters: {weight: [0, 1], density: 0.5}}
  - {model: B, parameters: {weight: 0.7}}
parameters: {density: [{filter: mlp, value: 0.3}, {value: 0.9}], lambda: 0.8}
"""


@pytest.fixture
def world(save, tmp_path):
    """Three models and ``write(text, name)``, which puts their folders in place of BASE, A and B."""
    models = [layered(i) for i in range(3)]
    folders = {
        n: save(n.lower(), m, tie_word_embeddings=False) for n, m in zip(("BASE", "A", "B"), models, strict=True)
    }

    def write(text: str, name: str = "recipe.yaml"):
        for word, folder in folders.items():
            text = text.replace(f"model: {word}\n", f"model: {folder}\n").replace(
                f"model: {word}}}", f"model: {folder}}}"
            )
            text = text.replace(f"model: {word},", f"model: {folder},").replace(
                f"source: {word}\n", f"source: {folder}\n"
            )
        path = tmp_path / name
        path.write_text(text)
        return path

    return models, folders, write


def test_a_recipe_writes_what_its_methods_return(run_cli, world, tmp_path) -> None:
    (base, a, b), _, write = world
    ran = run_cli("merge", write(BODY), "-o", tmp_path / "out", "--json")
    assert ran.exit_code == 0, ran.stderr
    assert ran.json["kind"] == "merge" and ran.json["method"] == "ties"
    merged = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight, density in ((UP, 0.5, 0.3), ("model.layers.2.norm.weight", 1.0, 0.9), ("lm_head.weight", 0, 0.9)):
        method = make("ties", weights=(weight, 0.7), density=(0.5, density), coefficient=0.8)
        assert torch.equal(merged[name], method.merge(base[name], [a[name], b[name]], name=name)), name
    assert verify_manifest(tmp_path / "out") == []


def test_the_manifest_tells_recipe_and_effective_parameters_without_a_path(run_cli, world, tmp_path) -> None:
    _, _, write = world
    assert run_cli("merge", write(BODY), "-o", tmp_path / "out").exit_code == 0
    content = read_manifest(tmp_path / "out")["content"]
    assert content["recipe"]["models"][0] == {"model": "a", "parameters": {"weight": [0, 1], "density": 0.5}}
    assert [(source["role"], source["name"]) for source in content["inputs"]] == [
        ("base", "base"),
        ("expert", "a"),
        ("expert", "b"),
    ]
    group = next(group for group in content["effective"] if UP in group["tensors"])
    assert group["parameters"]["weights"] == [0.5, 0.7] and group["parameters"]["density"] == [0.5, 0.3]
    assert sum(len(group["tensors"]) for group in content["effective"]) == 9
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'base_model:\n- "base"\n- "a"\n- "b"' in card and "    merge_method: ties\n" in card
    manifest = (tmp_path / "out" / "mergebarrier.json").read_text()
    assert str(tmp_path) not in manifest and str(tmp_path) not in card


def test_explain_tells_every_tensor_and_writes_nothing(run_cli, world, tmp_path) -> None:
    _, _, write = world
    path = write(BODY)
    before = sorted(tmp_path.rglob("*"))
    ran = run_cli("merge", path, "--explain", "--json")
    assert ran.exit_code == 0 and ran.json["kind"] == "explanation" and len(ran.json["tensors"]) == 9
    tensor = next(tensor for tensor in ran.json["tensors"] if tensor["tensor"] == UP)
    assert tensor["sources"] == [
        {"model": "base", "tensor": UP, "role": "base", "parameters": {}},
        {"model": "a", "tensor": UP, "role": "expert", "parameters": {"weight": 0.5, "density": 0.5}},
        {"model": "b", "tensor": UP, "role": "expert", "parameters": {"weight": 0.7, "density": 0.3}},
    ]
    assert tensor["parameters"] == {"lambda": 0.8} and tensor["depth"] == 0.5 and tensor["stored"] == "F32"
    told = run_cli("merge", path, "--explain", "-o", tmp_path / "out").stdout
    assert f"{UP}: ties lambda=0.8 depth=0.5 F32 -> F32\n  base base\n  expert a weight=0.5 density=0.5\n" in told
    assert "  all: name=ties" not in told and " arith=fp32 density=[0.5, 0.3] rescale=none" in told
    assert " scope=tensor need=tensor reads=1\n" in told
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_counts_and_writes_nothing(run_cli, world, tmp_path) -> None:
    _, _, write = world
    ran = run_cli("merge", write(BODY), "--dry-run", "--json", "-o", tmp_path / "out")
    assert ran.exit_code == 0 and ran.json["kind"] == "plan" and ran.json["tensors"] == 9
    assert ran.json["bytes_read"] == 3 * ran.json["bytes_written"] and not (tmp_path / "out").exists()


def test_dtypes_are_cast_on_load_and_on_save_and_said_in_the_config(run_cli, world, tmp_path) -> None:
    (_, a, b), _, write = world
    text = "merge_method: linear\nmodels: [{model: A}, {model: B}]\nparameters: {weight: 1}\n"
    assert (
        run_cli("merge", write(text + "dtype: bfloat16\nout_dtype: float16\n"), "-o", tmp_path / "out").exit_code == 0
    )
    merged = load_file(tmp_path / "out" / "model.safetensors")[UP]
    wanted = make("linear").merge(None, [a[UP].bfloat16(), b[UP].bfloat16()], name=UP).half()
    assert torch.equal(merged, wanted) and merged.dtype == torch.float16
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"


def test_a_value_that_does_not_fit_the_stored_dtype_is_refused(run_cli, world, tmp_path) -> None:
    _, _, write = world
    text = (
        "merge_method: linear\nmodels: [{model: A}]\nparameters: {weight: 1e6, normalize: false}\nout_dtype: float16\n"
    )
    ran = run_cli("merge", write(text), "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "MB1008" in ran.stderr and not (tmp_path / "out").exists()


def test_a_finished_run_is_not_run_again_and_a_changed_recipe_is_another_run(run_cli, world, tmp_path) -> None:
    _, _, write = world
    words = ("-o", tmp_path / "out", "--json")
    first = run_cli("merge", write(BODY), *words)
    assert run_cli("merge", write(BODY), "--resume", *words).json == first.json
    assert run_cli("merge", write(BODY.replace("0.8", "0.7")), "--resume", *words).exit_code == 2


def test_draws_follow_the_seed_of_recipe_or_option_and_nothing_else(run_cli, world, tmp_path) -> None:
    _, _, write = world
    text = BODY.replace("ties", "dare_ties")
    seeded = write(text + "mergebarrier: {seed: 7}\n", "seeded.yaml")
    runs = {
        "one": (seeded, "--workers", 1), "two": (seeded, "--workers", 2, "--seed", 3),
        "option": (write(text), "--seed", 7), "other": (write(text), "--seed", 8),
    }  # fmt: skip
    digests = {}
    for name, words in runs.items():
        ran = run_cli("merge", *words, "-o", tmp_path / name, "--json")
        digests[name] = ran.json["content_digest"]
    assert digests["one"] == digests["two"] == digests["option"] != digests["other"]


def test_the_tokenizer_and_the_template_come_from_where_the_recipe_says(run_cli, world, tmp_path) -> None:
    _, folders, write = world
    for name, folder in folders.items():
        (folder / "tokenizer.json").write_text(json.dumps(TOKENS))
        settings = {"name": name, "chat_template": "{{ base }}" if name == "BASE" else "{{ expert }}"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    def written(name: str, more: str) -> tuple[str, str | None]:
        ran = run_cli("merge", write(BODY + more), "-o", tmp_path / name)
        assert ran.exit_code == 0, ran.stderr
        settings = json.loads((tmp_path / name / "tokenizer_config.json").read_text())
        template = tmp_path / name / "chat_template.jinja"
        return settings["name"], template.read_text() if template.exists() else settings["chat_template"]

    assert written("donor", "") == ("BASE", "{{ base }}")
    assert written("of-base", "tokenizer_source: base\n") == ("BASE", "{{ base }}")
    assert written("model", "tokenizer:\n  source: A\n") == ("A", "{{ expert }}")
    assert written("auto", "chat_template: auto\n") == ("BASE", "{{ expert }}")
    assert written("text", "chat_template: '{{ mine }}'\n") == ("BASE", "{{ mine }}")
    assert "<|im_start|>" in (written("name", "chat_template: chatml\n")[1] or "")
    assert "chat_template" not in json.loads((tmp_path / "text" / "tokenizer_config.json").read_text())
    ran = run_cli("merge", write(BODY + "chat_template: lama"), "-o", tmp_path / "no")
    assert ran.exit_code == 2 and "no built-in template named 'lama'" in ran.stderr and not (tmp_path / "no").exists()


def test_two_models_of_one_name_are_told_apart(run_cli, world, tmp_path) -> None:
    _, folders, write = world
    (tmp_path / "x").mkdir()
    twin = folders["B"].rename(tmp_path / "x" / "a")
    folders["B"] = twin
    ran = run_cli("merge", write(BODY), "-o", tmp_path / "out", "--json")
    assert [source["name"] for source in ran.json["inputs"]] == ["base", "a#2", "a#3"]


@pytest.mark.parametrize(
    ("text", "words", "exit_code", "says"),
    [
        (BODY, ["--method", "ties"], 64, "--method: cannot be combined with a recipe; set it in the YAML"),
        (BODY, ["--weight", "1"], 64, "--weight: cannot be combined with a recipe; set it in the YAML"),
        (BODY, [], 64, "the output folder is missing"),
        (
            BODY.replace("model: A,", "model: A@main,"),
            ["-o", "OUT"],
            2,
            "the revision 'main' of a local folder is not known; tried ",
        ),
        (
            BODY.replace("model: A,", "model: A+lora,"),
            ["-o", "OUT"],
            2,
            "there is no such folder; tried ",
        ),
        (BODY.replace("model: A,", "model: nowhere,"), ["-o", "OUT"], 2, "there is no such folder; tried "),
        (BODY.replace("lambda", "lamda"), ["-o", "OUT"], 2, "no parameter 'lamda' (did you mean 'lambda'?)"),
        (BODY + "modls: 1", ["-o", "OUT"], 2, "unknown key 'modls' (did you mean 'models'?)"),
    ],
)
def test_what_a_recipe_cannot_mean_is_one_line_and_writes_nothing(
    run_cli, world, tmp_path, text, words, exit_code, says
):
    _, _, write = world
    words = [tmp_path / "out" if word == "OUT" else word for word in words]
    ran = run_cli("merge", write(text), *words)
    assert ran.exit_code == exit_code and says in ran.stderr, ran.stderr
    assert ran.stderr.count("\n") == 1 and not list(tmp_path.glob("out*"))


def test_a_recipe_that_is_not_there_and_options_that_need_one(run_cli, world, tmp_path) -> None:
    _, folders, _ = world
    assert "no such file" in run_cli("merge", tmp_path / "none.yaml", "-o", tmp_path / "out").stderr
    for words, says in (
        (("--method", "linear", "--explain", "-o", "x"), "--explain: works only with a recipe"),
        (("--method", "linear"), "-o: is missing"),
        (("-o", "x"), "--method: is missing"),
    ):
        ran = run_cli("merge", folders["A"], folders["B"], *words)
        assert ran.exit_code == 64 and says in ran.stderr, ran.stderr


def test_a_folder_whose_name_looks_like_a_revision_is_that_folder(run_cli, world, tmp_path) -> None:
    _, folders, write = world
    folders["A"] = folders["A"].rename(tmp_path / "a@v1+x")
    assert run_cli("merge", write(BODY), "-o", tmp_path / "out").exit_code == 0
