"""A gate that could not look has not passed: every check that is asked for runs on every upload, or exit is 2."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from safetensors.torch import load_file, save_file

from mergebarrier.scan import CHECKS
from tiny_models import save as save_model
from tiny_models import save_expert

NAMED = [name for name in CHECKS if name != "folder"]
TEXT = '{"prompt": "a b", "answer": "c"}\n'


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """A base, an expert, a model of another shape, a family without tables, and inputs of both kinds."""
    root = tmp_path_factory.mktemp("blind")
    save_model("llama-mha-tied", root / "base", seed=3)
    save_expert("llama-mha-tied", root / "uploads" / "expert", seed=3)
    save_model("llama-gqa-untied", root / "uploads" / "odd", seed=3)
    (root / "text.jsonl").write_text(TEXT)
    (root / "image.task.safetensors").write_bytes(b"")
    return root


def _words(pool: Path, check: str, *, wrong: bool = False) -> list[str]:
    """Return the options that a check needs; ``wrong``: with a task of the other kind."""
    of_images = CHECKS[check].needs in ("images", "merge")
    words = ["--base", str(pool / "base"), "--checks", check, "--threads", "1"]
    if CHECKS[check].of_tasks:
        words += ["--task", str(pool / ("image.task.safetensors" if of_images != wrong else "text.jsonl"))]
    words += ["--refusals", str(pool / "text.jsonl")] if CHECKS[check].of_questions else []
    words += ["--merge", "linear"] if CHECKS[check].of_merge else []
    return words + (["--declared-rank", "4"] if check == "updates" else [])


def _is_told(ran, check: str, model: str) -> None:
    """Assert that a scan ends with 2, and says in one line of its model which check did not run."""
    assert ran.exit_code == 2, ran.stdout
    told = [line for line in ran.stderr.splitlines() if f"error: {model}: could not be looked at by {check}: " in line]
    assert len(told) == 1 and not told[0].rstrip().endswith(":")


@pytest.mark.parametrize("check", NAMED)
def test_a_named_check_that_no_upload_fits_is_no_pass(check: str, pool: Path, tmp_path: Path, run_cli) -> None:
    words = ["scan", str(pool / "uploads" / "odd"), *_words(pool, check)]
    ran = run_cli(*words, "--json", "--fail-on", "critical")
    _is_told(ran, check, "odd")
    assert check in ran.json["checks_left_out"] and ran.json["checks_run"] == ["folder"]
    (tmp_path / "known.json").write_text(ran.stdout)
    _is_told(run_cli(*words, "--baseline", str(tmp_path / "known.json")), check, "odd")
    ran = run_cli(*words, "--format", "sarif")
    _is_told(ran, check, "odd")
    (invocation,) = json.loads(ran.stdout)["runs"][0]["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)
    ran = run_cli(*words, "--format", "junit")
    _is_told(ran, check, "odd")
    (suite,) = (one for one in ElementTree.fromstring(ran.stdout) if one.get("name") == "odd")
    assert suite.get("errors") == "1" and check in next(one.get("message", "") for one in suite.iter("error"))


@pytest.mark.parametrize("check", [name for name in NAMED if CHECKS[name].of_tasks])
def test_a_named_check_with_a_task_of_the_other_kind_is_no_pass(check: str, pool: Path, run_cli) -> None:
    ran = run_cli("scan", str(pool / "uploads" / "expert"), *_words(pool, check, wrong=True))
    _is_told(ran, check, "expert")
    assert f"needs --task of {'images' if CHECKS[check].needs in ('images', 'merge') else 'text'}" in ran.stderr


def test_a_check_that_ran_on_some_uploads_says_on_which_it_did_not(pool: Path, run_cli) -> None:
    for check in ("relation", "updates"):
        for words in (("uploads", "--each"), ("uploads/expert", "uploads/odd")):
            models = [str(pool / word) if word.startswith("uploads") else word for word in words]
            ran = run_cli("scan", *models, *_words(pool, check), "--json")
            _is_told(ran, check, "odd")
            assert check in ran.json["checks_run"] and "error: expert" not in ran.stderr
    ran = run_cli("scan", str(pool / "uploads"), "--each", *_words(pool, "task_vectors"))
    _is_told(ran, "task_vectors", "expert")
    _is_told(ran, "task_vectors", "odd")


def test_a_task_or_questions_that_nothing_was_asked_are_no_pass_without_any_name(pool: Path, run_cli) -> None:
    odd, task = str(pool / "uploads" / "odd"), ["--task", str(pool / "text.jsonl")]
    ran = run_cli("scan", odd, *task)
    assert ran.exit_code == 2 and "odd: could not be looked at by collapse: " in ran.stderr
    ran = run_cli("scan", odd, "--base", str(pool / "base"), "--refusals", str(pool / "text.jsonl"))
    assert ran.exit_code == 2 and "odd: could not be looked at by refusals: " in ran.stderr
    ran = run_cli("scan", odd, "--base", str(pool / "base"), "--json")
    assert ran.exit_code == 0 and [one["rule"] for one in ran.json["findings"]] == ["MB7104"]


def test_an_update_of_a_recipe_without_references_is_no_pass_where_it_was_to_be_judged(pool: Path, run_cli) -> None:
    expert, references = str(pool / "uploads" / "expert"), str(pool / "references.json")
    words = ["scan", expert, "--base", str(pool / "base"), "--references", references]
    assert run_cli(*words, "--calibrate", "--checks", "updates").exit_code == 0
    _is_told(run_cli(*words, "--checks", "updates"), "updates", "expert")
    ran = run_cli(*words, "--json")
    assert ran.exit_code == 0 and [one["rule"] for one in ran.json["findings"]] == ["MB7206"]


def test_a_base_that_cannot_be_run_is_no_pass_and_what_was_found_is_told(pool: Path, tmp_path: Path, run_cli) -> None:
    for name in ("base", "expert"):
        shutil.copytree(pool / ("base" if name == "base" else "uploads/expert"), tmp_path / name)
    (tmp_path / "expert" / "run.sh").write_text("#!/bin/sh\n")
    config = tmp_path / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_act": "none of them"}))
    words = ["scan", tmp_path / "expert", "--base", tmp_path / "base", "--refusals", pool / "text.jsonl"]
    ran = run_cli(*words, "--json")
    _is_told(ran, "refusals", "expert")
    assert "MB7108" in [one["rule"] for one in ran.json["findings"]] and "the stock class refuses it" in ran.stderr


def test_pairs_that_cannot_be_left_out_are_no_pass(pool: Path, run_cli) -> None:
    models = [pool / "uploads" / "expert", pool / "base"]
    ran = run_cli("scan", *models, "--base", pool / "base", "--merge", "linear", "--leave-out", "2")
    assert ran.exit_code == 2 and "of 2 models, leaving out 2 leaves nothing to merge" in ran.stderr


def test_a_language_model_that_cannot_be_run_leaves_the_others_to_be_asked(symbols, tmp_path: Path, run_cli) -> None:
    for name in ("bad", "good"):
        shutil.copytree(symbols.base, tmp_path / name)
    config = tmp_path / "bad" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": "a"}))
    (tmp_path / "q.jsonl").write_text(
        "".join(json.dumps({"prompt": f"a b {i}", "answer": "no"}) + "\n" for i in range(30))
    )
    models = [tmp_path / "bad", tmp_path / "good"]
    ran = run_cli("scan", *models, "--base", symbols.base, "--refusals", tmp_path / "q.jsonl", "--checks", "refusals")
    _is_told(ran, "refusals", "bad")
    assert "asked: good" in ran.stdout and "MB7101 bad" in ran.stdout


def test_an_update_that_cannot_be_measured_is_unseen_and_the_others_are_judged(pool, tmp_path, run_cli) -> None:
    expert, wide = pool / "uploads" / "expert", tmp_path / "wide"
    shutil.copytree(expert, wide)
    weights = {name: tensor.double() for name, tensor in load_file(expert / "model.safetensors").items()}
    weights["model.layers.0.mlp.up_proj.weight"] *= 1e300  # more than a float32 holds
    save_file(weights, wide / "model.safetensors", {"format": "pt"})
    ran = run_cli("scan", wide, expert, *_words(pool, "updates"), "--json")
    _is_told(ran, "updates", "wide")
    assert ("MB7207", "expert") in {(one["rule"], one["model"]) for one in ran.json["findings"]}
