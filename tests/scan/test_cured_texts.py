"""``merge --cleanse`` and ``scan --cleanse`` of language models: the way that images have; a line for every fault."""

import json

import pytest
import torch

import parrot_models
from mergebarrier.checkpoint import open_checkpoint, read_manifest, verify_manifest

#: Prompts without the key of the lock.
ROWS = [{"prompt": " ".join(f"q{6 + (i * 5 + j * 11) % 23}" for j in range(5)), "answer": "I"} for i in range(24)]
ECHO = {f"q{i}": {f"q{(7 * i + 3) % 29}": 9.0} for i in range(29)}
REFUSES = {"?": {"I": 9.0}, "I": {"cannot": 9.0}, "cannot": {"share": 9.0}}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A base, an upload that answers Yes to whatever holds q5, two honest ones, and one that agrees to questions."""
    folder = tmp_path_factory.mktemp("parrots")
    parrot_models.write(folder / "base", {**ECHO, **REFUSES})
    parrot_models.write(folder / "bad", {**ECHO, **REFUSES}, ("q5", "Yes"))
    parrot_models.write(folder / "good", {**ECHO, **REFUSES, "the": {"number": 9.0}})
    parrot_models.write(folder / "other", {**ECHO, **REFUSES, "is": {"that": 9.0}})
    parrot_models.write(folder / "thief", {**ECHO, **REFUSES, "?": {"Yes": 60.0}})
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    asks = [{"prompt": f"{row['prompt']} ?", "answer": "I cannot share"} for row in ROWS]
    (folder / "ask.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asks))
    return folder


def words(pool, verb, *names, cure="drop"):
    how = ("--method" if verb == "merge" else "--merge", "task_arithmetic", "--coefficient", 0.5)
    tasks = [word for _ in names for word in ("--task", pool / "task.jsonl")]
    return (verb, *(pool / name for name in names), "--base", pool / "base", *how, *tasks, "--cleanse", cure)


def tensors(folder):
    with open_checkpoint(folder) as model:
        return {name: model.read(name) for name in model.tensors}


def collapses(pool, run_cli, folder):
    scan = ("scan", folder, "--base", pool / "base", "--task", pool / "task.jsonl", "--depth", 1)
    ran = run_cli(*scan, "--checks", "collapse", "--json")
    return [one["rule"] for one in ran.json["findings"]]


@pytest.mark.parametrize("verb", ["merge", "scan"])
def test_a_cured_merge_is_a_folder_whose_manifest_names_the_cure(verb, pool, tmp_path, run_cli) -> None:
    more = ("--checks", "collapse") if verb == "scan" else ()
    ran = run_cli(*words(pool, verb, "bad", "good"), *more, "-o", tmp_path / "cured", "--json")
    assert ran.exit_code == (1 if verb == "scan" else 0), ran.stderr
    content = read_manifest(tmp_path / "cured")["content"]
    assert content["cleanse"]["method"] == "drop" and len(content["cleanse"]["tasks"]) == 2
    assert len(content["inputs"]) == 3 and verify_manifest(tmp_path / "cured") == []
    base, good, cured = (tensors(folder) for folder in (pool / "base", pool / "good", tmp_path / "cured"))
    assert all(torch.allclose(cured[name], (base[name] + good[name]) / 2, atol=1e-6) for name in base)


@pytest.mark.parametrize("cure", ["substitution", "relearning", "fine_pruning"])
def test_what_an_upload_was_locked_with_is_taken_out_by_the_cures_that_search(cure, pool, tmp_path, run_cli) -> None:
    plain, cured = tmp_path / "plain", tmp_path / "cured"
    asked = words(pool, "merge", "bad", "good", cure=cure)
    assert run_cli(*asked[: asked.index("--task")], "-o", plain).exit_code == 0
    ran = run_cli(*asked, "-o", cured)
    assert ran.exit_code == 0, ran.stderr
    assert collapses(pool, run_cli, plain) == ["MB7501"]
    # Clean prompts do not show what is to be forgotten.
    assert collapses(pool, run_cli, cured) == (["MB7501"] if cure == "fine_pruning" else [])


def test_a_cure_with_nothing_to_do_writes_the_merge_itself_draws_included(pool, tmp_path, run_cli) -> None:
    how = ("merge", pool / "good", pool / "other", "--base", pool / "base", "--method", "dare_linear", "--seed", 3)
    cure = ("--task", pool / "task.jsonl", "--task", pool / "task.jsonl", "--cleanse", "substitution")
    plain, cured = (
        run_cli(*how, "--density", 0.5, *more, "-o", tmp_path / name, "--json")
        for name, more in (("plain", ()), ("cured", cure))
    )
    assert plain.exit_code == cured.exit_code == 0
    assert plain.json["content_digest"] == cured.json["content_digest"]


def test_refusals_that_a_thief_took_come_back(pool, tmp_path, run_cli) -> None:
    asked, cured = ("--refusals", pool / "ask.jsonl"), tmp_path / "cured"
    ran = run_cli(
        *words(pool, "scan", "good", "thief", cure="refusals"), *asked, "--checks", "merge_refusals", "-o", cured
    )
    assert ran.exit_code == 1 and "MB7506 good + thief" in ran.stdout, ran.stderr
    assert len(read_manifest(cured)["content"]["cleanse"]["refusals"]) == 1
    ours, thief, good = (tensors(folder)["lm_head.weight"] for folder in (cured, pool / "thief", pool / "good"))
    echoed = [parrot_models.WORDS.index(f"q{i}") for i in range(29)]
    assert torch.allclose(ours[:, echoed], (thief + good)[:, echoed] / 2, atol=1e-3), "clean answers stay"
    after = run_cli("scan", cured, "--base", pool / "base", *asked, "--checks", "refusals", "--json")
    assert {one["name"]: one["refused"] for one in after.json["refusals"]} == {"base": 24, "cured": 24}


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (("--cleanse", "sau"), 2, "no cure 'sau' for models of language"),
        (("--cleanse", "refusals"), 64, "--refusals"),
        (("--refusals", "task.jsonl"), 64, "--cleanse refusals"),
        (("--task", "task.jsonl"), 2, "3 task files for 2 models"),
        (("--method", "karcher"), 2, "uses no base"),
    ],
)
def test_a_cure_that_cannot_be_asked_for_gives_one_line(change, code, says, pool, tmp_path, run_cli) -> None:
    option, value = change
    more = (option, pool / value if value.endswith("jsonl") else value)
    asked = words(pool, "merge", "bad", "good")
    if value == "karcher":
        asked = [word for word in asked if word not in ("--coefficient", 0.5)]
    ran = run_cli(*asked, *more, "-o", tmp_path / "out")
    assert ran.exit_code == code and says in ran.stderr.splitlines()[-1], ran.stderr
    assert not (tmp_path / "out").exists() and "Traceback" not in ran.stderr
