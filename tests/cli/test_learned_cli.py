"""``merge --data``: language models merged by methods that learn, from files, with all of it in the manifest."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from mergebarrier.checkpoint import open_checkpoint, read_manifest, verify_manifest
from mergebarrier.errors import BadTask, BadText
from mergebarrier.evaluate import TaskRow, load_module, load_tokenizer, prompt_rows, text_rows
from mergebarrier.merge import DATA_MERGES, TaskArithmetic
from tiny_tokenizer import add_tokenizer

QUICK: dict[str, list[str]] = {
    "fisher": [],
    "regmean": ["--off-diagonal", "0.5"],
    "regmean_plus": [],
    "adamerging": ["--steps", "2", "--learning-rate", "0.1"],
    "concrete": ["--steps", "1", "--host-steps", "1", "--host", "adamerging"],
}
FAMILY = "llama-gqa-untied"


def folders(parent: Path, family: str = FAMILY) -> list[Path]:
    made = [tiny_models.save(family, parent / "base")]
    made += [tiny_models.save_expert(family, parent / name, task=i) for i, name in ((1, "a"), (2, "b"))]
    return [add_tokenizer(folder) for folder in made]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return folders(tmp_path_factory.mktemp("learned"))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A task of prompts of several lengths, and a text."""
    rows = [{"prompt": " ".join(f"w{(7 * i + j) % 96}" for j in range(3 + i % 3)), "answer": "w1"} for i in range(20)]
    task, text = tmp_path / "a.jsonl", tmp_path / "b.txt"
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text.write_text(" ".join(f"w{(i * i) % 96}" for i in range(900)))
    return [task, text]


def words_for(method: str, models: list[Path], files: list[Path], out: Path) -> list[Any]:
    data = [word for path in files for word in ("--data", path)]
    return ["merge", *models[1:], "--base", models[0], "--method", method, *QUICK[method], *data, "-o", out]


def test_the_help_names_every_method_that_learns() -> None:
    assert tuple(DATA_MERGES) == tuple(QUICK)


@pytest.mark.parametrize("learns", QUICK)
def test_each_method_writes_a_complete_folder_that_says_what_it_learned_from(
    run_cli, models, files, tmp_path, learns
) -> None:
    out = tmp_path / "out"
    ran = run_cli(*words_for(learns, models, files, out), "--samples", 12, "--seed", 3, "--json")
    assert ran.exit_code == 0, ran.stderr
    assert verify_manifest(out) == [] and ran.json["method"] == learns
    content = read_manifest(out)["content"]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert [line["sha256"] for line in content["data"]] == digests
    assert [(line["expert"], line["file"], line["kind"], line["rows"]) for line in content["data"]] == [
        ("a", "a.jsonl", "task", 12),
        ("b", "b.txt", "text", 12),
    ]
    assert content["calibration"] == {"samples": 12, "seed": 3, "dtype": "float32"}
    assert content["determinism"] == "profile" and "gram_bytes" not in content["parameters"]
    assert bool(content["coefficients"]) == DATA_MERGES[learns].uses_base
    merged, base = load_file(out / "model.safetensors"), load_file(models[0] / "model.safetensors")
    assert {name: x.shape for name, x in merged.items()} == {name: x.shape for name, x in base.items()}
    assert any(not torch.equal(merged[name], base[name]) for name in base)
    for path in (*files, tmp_path):
        assert str(path.parent) not in (out / "mergebarrier.json").read_text()
    more = ("--samples", 12, "--seed", 3, "--device", "cpu", "--json")
    again = run_cli(*words_for(learns, models, files, tmp_path / "again"), *more)
    assert again.json["content_digest"] == ran.json["content_digest"]


@pytest.mark.parametrize("family", ["llama-mha-tied", "gpt2-tied", "gpt2-untied", "qwen2"])
def test_regmean_knows_the_linear_maps_of_every_family(run_cli, files, tmp_path, family) -> None:
    (tmp_path / "models").mkdir()
    made = folders(tmp_path / "models", family)
    ran = run_cli(*words_for("regmean", made, files, tmp_path / "out"), "--json")
    assert ran.exit_code == 0, ran.stderr
    per_layer = 4 if family.startswith("gpt2") else 7
    untied = family == "gpt2-untied"
    assert ran.json["diagnostics"]["regressed_layers"] == 2 * per_layer + untied
    assert verify_manifest(tmp_path / "out") == []


def test_the_coefficients_in_the_manifest_make_the_weights(run_cli, models, files, tmp_path) -> None:
    ran = run_cli(*words_for("adamerging", models, files, tmp_path / "out"), "--json")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    base, *experts = (load_file(folder / "model.safetensors") for folder in models)
    assert ran.json["coefficients"].keys() == base.keys()
    for name, row in ran.json["coefficients"].items():
        wanted = TaskArithmetic(weights=tuple(row)).merge(base[name], [x[name] for x in experts], name=name)
        assert torch.equal(merged[name], wanted), name


def test_memory_is_told_shared_out_and_refused_with_both_numbers(run_cli, models, files, tmp_path) -> None:
    words = words_for("regmean", models, files, tmp_path / "out")
    plan = run_cli(*words, "--dry-run", "--json").json
    assert plan["need"] == "data" and not (tmp_path / "out").exists()
    held = plan["peak_bytes"] - 2**30
    tight = run_cli(*words, "--max-ram", held + 700_000, "--json")
    assert tight.exit_code == 0, tight.stdout
    assert tight.json["diagnostics"]["passes"] > 1
    free = run_cli(*words_for("regmean", models, files, tmp_path / "free"), "--json")
    assert free.json["diagnostics"]["passes"] == 1
    assert free.json["content_digest"] == tight.json["content_digest"]
    for budget, said in ((held // 2, f"holds {held} bytes"), (held + 100, "the budget is 100;")):
        ran = run_cli(*words_for("regmean", models, files, tmp_path / "none"), "--max-ram", budget)
        assert ran.exit_code == 2 and said in ran.stderr and "the budget is" in ran.stderr
        assert ran.stderr.count("\n") == 2 and not list(tmp_path.glob("none*"))


@pytest.mark.parametrize(
    ("change", "exit_code", "says"),
    [
        (lambda words, files: [w for w in words if w not in (*files, "--data")], 64, "adamerging learns from data"),
        (lambda words, files: [*words, "--data", files[0]], 2, "3 data files for 2 experts"),
        (lambda words, files: [*words, "--off-diagonal", "0.1"], 64, "--off-diagonal: not an option of adamerging"),
        (lambda words, files: [w if w != "adamerging" else "linear" for w in words], 64, "--steps: not an option"),
        (lambda words, files: [files[0].with_name("no.txt") if w == files[1] else w for w in words], 2, "MB9002"),
        (lambda words, files: [*words[:3], *words[5:]], 2, "needs the base model"),
    ],
)
def test_a_merge_that_cannot_learn_is_one_line(run_cli, models, files, tmp_path, change, exit_code, says) -> None:
    ran = run_cli(*change(words_for("adamerging", models, files, tmp_path / "out"), files))
    assert ran.exit_code == exit_code and says in ran.stderr, ran.stderr
    assert ran.stderr.count("\n") == 1 and not list(tmp_path.glob("out*"))


def test_data_for_a_method_that_learns_nothing_is_refused(run_cli, models, files, tmp_path) -> None:
    words = ["merge", *models[1:], "--method", "linear", "--data", files[0], "-o", tmp_path / "out"]
    ran = run_cli(*words)
    assert ran.exit_code == 64 and "--data: not an option of linear" in ran.stderr


def test_a_folder_without_a_tokenizer_is_named(run_cli, models, files, tmp_path) -> None:
    bare = tiny_models.save(FAMILY, tmp_path / "bare")
    ran = run_cli(*words_for("adamerging", [bare, *models[1:]], files, tmp_path / "out"))
    assert ran.exit_code == 2 and "tokenizer.json" in ran.stderr and ran.stderr.count("\n") == 1


def test_a_recipe_names_a_method_that_learns_and_is_told_where_it_goes(run_cli, models, tmp_path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"merge_method: regmean\nmodels:\n- model: {models[1]}\n- model: {models[2]}\nbase_model: {models[0]}\n"
    )
    ran = run_cli("merge", recipe, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "regmean learns from data" in ran.stderr and ran.stderr.count("\n") == 1


# The batches that a language model learns from


@pytest.fixture
def opened(models):
    with open_checkpoint(models[0]) as checkpoint:
        yield load_module(checkpoint, "float32"), load_tokenizer(checkpoint)


def test_batches_hold_every_row_once_and_no_padding(opened) -> None:
    module, tokenizer = opened
    prompts = [TaskRow(" ".join(f"w{i + j}" for j in range(2 + i % 4)), "w1") for i in range(11)]
    rows = prompt_rows(module, tokenizer, prompts)
    for batches in (rows.even(3), rows.mixed(4)):
        seen = sorted(tuple(ids.tolist()) for batch in batches for tensor in batch for ids in tensor)
        assert seen == sorted(rows.ids)
    assert all(len(batch) == 1 and len(batch[0]) <= 3 for batch in rows.even(3))
    assert [sum(map(len, batch)) for batch in rows.mixed(4)] == [4, 4, 3]
    assert rows.tokens == sum(2 + i % 4 for i in range(11))


def test_logits_are_those_behind_the_last_token_or_every_one(opened) -> None:
    module, tokenizer = opened
    rows = prompt_rows(module, tokenizer, [TaskRow("w1 w2 w3", "x"), TaskRow("w4", "x")])
    (batch,) = rows.mixed(2)
    with torch.no_grad():
        found = rows.logits(module, batch)
        wanted = [module(torch.tensor([ids])).logits[0, -1] for ids in sorted(rows.ids, key=len)]
        assert torch.allclose(found, torch.stack(wanted), atol=1e-5)
        text = text_rows(module, tokenizer, " ".join(f"w{i % 96}" for i in range(200)), 2)
        (batch,) = text.even(2)
        assert torch.allclose(text.logits(module, batch), module(batch[0]).logits[:, :-1].flatten(0, 1), atol=1e-5)
    assert [len(row) for row in text.ids] == [32, 32]


def test_rows_that_cannot_be_read_are_named(opened) -> None:
    module, tokenizer = opened
    with pytest.raises(BadTask, match="row 2"):
        prompt_rows(module, tokenizer, [TaskRow("w1", "x"), TaskRow(" ", "x")])
    with pytest.raises(BadText, match="the text has fewer than 32 tokens"):
        text_rows(module, tokenizer, "w1 w2", 4)
