"""``mergebarrier scan`` on folders: exit codes, formats, refusals, and one line for every bad input."""

import json
import re
from pathlib import Path

import pytest
import torch

from mergebarrier.checkpoint import open_checkpoint, read_manifest, verify_manifest
from mergebarrier.cli.scan import CHECKS
from mergebarrier.evaluate import load_encoder, save_encoder
from mergebarrier.scan import CHECKS as REGISTERED
from mergebarrier.scan import RULES
from scan_world import SMALL, World, write_folder, write_task
from tiny_models import save as save_model
from tiny_models import save_expert


@pytest.fixture(scope="module")
def bench(world: World, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    write_folder(world.base, root / "base")
    for task, weights in enumerate(world.experts):
        write_folder(weights, root / f"expert{task}")
        write_task(world, task, root)
    write_folder(world.poisoned["interpolated"], root / "poisoned")
    return root


def _args(bench: Path, *models: str) -> list[str]:
    return [*(str(bench / model) for model in models), "--base", str(bench / "base"), "--threads", "1"]


def _tasks(bench: Path, n: int) -> list[str]:
    return [word for task in range(n) for word in ("--task", str(bench / f"task{task}.task.safetensors"))]


def test_the_names_in_the_help_are_those_of_the_registry() -> None:
    assert tuple(REGISTERED) == CHECKS


def test_a_poisoned_pool_exits_with_one_and_names_the_model(bench: Path, run_cli) -> None:
    models = _args(bench, "poisoned", "expert1", "expert2")
    ran = run_cli("scan", *models, *_tasks(bench, 3), "--merge", "task_arithmetic", "--coefficient", "0.4", "--json")
    assert ran.exit_code == 1
    found = {(one["rule"], one["model"]) for one in ran.json["findings"]}
    assert {("MB7301", "poisoned"), ("MB7304", "poisoned")} <= found
    assert {model for _, model in found} <= {"poisoned", "merge of all"}
    assert all(one["cannot_see"] and one["threshold"] is not None for one in ran.json["findings"])
    assert ran.json["checks_left_out"]["task_vectors"]


def test_an_honest_pool_is_never_called_clean(bench: Path, run_cli) -> None:
    ran = run_cli("scan", *_args(bench, "expert0", "expert1", "expert2", "expert3"))
    assert ran.exit_code == 0
    assert "no finding by checks folder, task_vectors" in ran.stdout and "cannot see" in ran.stdout
    assert (
        not re.search(r"\bclean\b", ran.stdout, re.IGNORECASE) and "not run: expert_patches, needs --task" in ran.stdout
    )


def test_sarif_lists_every_rule_and_gives_results_a_level(bench: Path, run_cli) -> None:
    models = _args(bench, "poisoned", "expert1")
    ran = run_cli("scan", *models, *_tasks(bench, 2), "--checks", "expert_patches", "--format", "sarif")
    assert ran.exit_code == 1
    document = json.loads(ran.stdout)
    run = document["runs"][0]
    assert document["version"] == "2.1.0" and {r["id"] for r in run["tool"]["driver"]["rules"]} == set(RULES)
    assert next((r["ruleId"], r["level"]) for r in run["results"]) == ("MB7301", "error")
    assert all(r["fingerprints"]["contentDigest/v1"] for r in run["results"])
    assert run["properties"]["checks"] == ["folder", "expert_patches"]


def test_a_refused_folder_is_a_finding(bench: Path, tmp_path: Path, run_cli) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "config.json").write_text(json.dumps(SMALL))
    (evil / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    ran = run_cli("scan", str(evil), *_args(bench, "expert1"), "--format", "json")
    assert ran.exit_code == 1
    found = ran.json["findings"][0]
    assert (found["rule"], found["severity"], found["evidence"]["code"]) == ("MB7101", "critical", "MB1003")


def test_a_value_that_is_no_number_is_a_finding(bench: Path, world: World, tmp_path: Path, run_cli) -> None:
    name = next(iter(world.base))
    broken = {**world.base, name: torch.full_like(world.base[name], float("nan"))}
    ran = run_cli("scan", str(write_folder(broken, tmp_path / "nan")), *_args(bench, "expert1"), "--json")
    assert ran.exit_code == 1 and ran.json["findings"][0]["evidence"]["code"] == "MB1008"


@pytest.mark.parametrize("fail_on", ["info", "critical"])
def test_what_could_not_be_looked_at_is_exit_code_2_whatever_it_would_fail_on(
    bench: Path, tmp_path: Path, run_cli, fail_on: str
) -> None:
    expert, nothing, gone = str(bench / "expert0"), tmp_path / "nothing", str(tmp_path / "mistyped")
    nothing.mkdir()
    for words in (
        (expert, "--base", str(nothing)),
        (str(nothing), expert, "--base", expert),
        (gone, "--base", expert),
        (expert, gone),
        (expert, "--base", gone),
        (str(nothing),),
    ):
        ran = run_cli("scan", *words, "--fail-on", fail_on, "--json")
        assert ran.exit_code == 2 and [one["rule"] for one in ran.json["findings"]] == ["MB7100"]
        says = "no such folder" if gone in words else "no safetensors weights"
        assert says in ran.stderr and ran.stderr.startswith("error: ")


def test_a_refusal_below_the_limit_is_no_pass(bench: Path, world: World, tmp_path: Path, run_cli) -> None:
    name = next(iter(world.base))
    broken = {**world.base, name: torch.full_like(world.base[name], float("inf"))}
    folder = str(write_folder(broken, tmp_path / "inf"))
    assert run_cli("scan", folder).exit_code == 1
    ran = run_cli("scan", folder, "--fail-on", "critical")
    assert ran.exit_code == 2 and "MB1008" in ran.stderr


def test_an_upload_that_cannot_be_run_is_a_finding_and_no_end(bench: Path, world: World, tmp_path, run_cli) -> None:
    blind = write_folder(world.experts[0], tmp_path / "blind")
    (blind / "preprocessor_config.json").unlink()
    words = [str(blind), "--base", str(bench / "base"), *_tasks(bench, 1), "--checks", "expert_patches", "--json"]
    ran = run_cli("scan", *words)
    assert ran.exit_code == 2 and "preprocessor_config" in ran.json["findings"][0]["message"]
    assert ran.json["checks_left_out"] == {"expert_patches": "no model that can be run"}


#: What a manifest of an attack says beyond what every manifest holds.
ATTACKED = {
    "verb": "attack", "attack-artifact": True, "method": "badnets", "parameters": {}, "inputs": [],
    "trigger_on_base": None,
}  # fmt: skip


def test_the_tag_of_an_attack_artefact_is_recognised_in_manifest_and_card(bench: Path, tmp_path: Path, run_cli) -> None:
    with open_checkpoint(bench / "base") as like:
        save_encoder(load_encoder(like), like, tmp_path / "tagged", ATTACKED)
    ran = run_cli("scan", *_args(bench, "expert1"), str(tmp_path / "tagged"), "--json")
    assert [(one["rule"], one["model"]) for one in ran.json["findings"]] == [("MB7102", "tagged")]
    assert ran.exit_code == 1
    card = "---\ntags:\n- attack-artifact\n- do-not-merge\n---\n# A model\n"
    (tmp_path / "tagged" / "mergebarrier.json").unlink()
    (tmp_path / "tagged" / "README.md").write_text(card)
    ran = run_cli("scan", str(tmp_path / "tagged"), "--base", str(bench / "base"), "--json")
    assert [one["rule"] for one in ran.json["findings"]] == ["MB7102", "MB7103"]
    (tmp_path / "tagged" / "README.md").write_text("# attack-artifact in prose\n")
    assert run_cli("scan", str(tmp_path / "tagged"), "--base", str(bench / "base"), "--json").json["findings"] == []


def test_a_model_of_another_shape_is_a_finding_and_leaves_the_others_to_be_scanned(
    bench: Path, world: World, tmp_path: Path, run_cli
) -> None:
    name = next(iter(world.base))
    odd = {key: tensor for key, tensor in world.base.items() if key != name}
    folder = write_folder(odd, tmp_path / "odd")
    models = [str(folder), *_args(bench, "expert0", "expert1", "expert2", "expert3")]
    ran = run_cli("scan", *models, "--json")
    assert [(one["rule"], one["model"]) for one in ran.json["findings"]] == [("MB7104", "odd")]
    assert "task_vectors" in ran.json["checks_run"] and ran.exit_code == 0


def test_a_protected_relative_of_a_language_model_is_named_and_an_honest_fine_tune_is_not(
    tmp_path: Path, run_cli
) -> None:
    save_model("llama-mha-tied", tmp_path / "base", seed=3)
    save_expert("llama-mha-tied", tmp_path / "expert", seed=3)
    made = run_cli("protect", str(tmp_path / "expert"), "-o", str(tmp_path / "protected"))
    assert made.exit_code == 0
    for told in ("mergebarrier.json", "README.md"):  # what the folder says of itself; the weights say it too
        (tmp_path / "protected" / told).unlink()
    models = [str(tmp_path / name) for name in ("protected", "expert")]
    ran = run_cli("scan", *models, "--base", str(tmp_path / "base"), "--json", "--threads", "1")
    assert [(one["rule"], one["model"]) for one in ran.json["findings"]] == [("MB7105", "protected")]
    assert "protected relative" in ran.json["findings"][0]["message"] and "relation" in ran.json["checks_run"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"tie_word_embeddings": False}, "the head is not tied"),
        ({"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 24}, "n_heads is 2 in the model and 4"),
    ],
)
def test_a_configuration_that_does_not_fit_its_base_is_no_pass(said, why: str, tmp_path: Path, run_cli) -> None:
    save_model("llama-mha-tied", tmp_path / "base", seed=3)
    config = save_expert("llama-mha-tied", tmp_path / "expert", seed=3) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | said))
    ran = run_cli("scan", str(tmp_path / "expert"), "--base", str(tmp_path / "base"), "--json", "--threads", "1")
    assert ran.exit_code == 2 and [one["rule"] for one in ran.json["findings"]] == ["MB7100"]
    assert why in ran.json["findings"][0]["message"] and "relation" not in ran.json["checks_run"]


def test_a_relative_that_was_moved_far_is_told_from_a_stranger(tmp_path: Path, run_cli) -> None:
    save_model("llama-mha-tied", tmp_path / "base", seed=3)
    save_model("llama-mha-tied", tmp_path / "stranger", seed=4)
    save_expert("llama-mha-tied", tmp_path / "far", seed=3, step=2.5)
    models = [str(tmp_path / name) for name in ("far", "stranger")]
    ran = run_cli("scan", *models, "--base", str(tmp_path / "base"), "--json", "--threads", "1")
    p = {one["model"]: float(one["evidence"]["p"]) for one in ran.json["findings"] if one["rule"] == "MB7105"}
    assert p["far"] < 1e-3 < 1e-2 < p["stranger"]


@pytest.mark.parametrize("fault", ["count", "head", "rows", "checks", "lambda"])
def test_a_bad_input_gives_one_line(fault: str, bench: Path, world: World, tmp_path: Path, run_cli) -> None:
    import dataclasses

    words = ["scan", *_args(bench, "expert0")]
    if fault == "count":
        words += _tasks(bench, 2)
    elif fault == "head":
        wide = torch.nn.functional.normalize(torch.randn(4, 4, 9, generator=torch.Generator().manual_seed(0)), dim=-1)
        words += ["--task", str(write_task(dataclasses.replace(world, heads=wide), 0, tmp_path))]
    elif fault == "rows":
        words += ["--task", str(write_task(world, 0, tmp_path, n_dev=8))]
    elif fault == "checks":
        words += ["--checks", "folder,magic"]
    else:
        words += ["--coefficient", "0.3"]
    ran = run_cli(*words)
    says = {
        "count": (2, "2 task files for 1 models"), "head": (2, "9 columns"), "rows": (2, "8 development images"),
        "checks": (64, "magic"), "lambda": (64, "--merge"),
    }  # fmt: skip
    assert ran.exit_code == says[fault][0] and says[fault][1] in ran.stderr
    assert ran.stdout == "" and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["merge", "scan"])
def test_a_cured_merge_is_a_folder_whose_manifest_names_the_cure(
    verb: str, bench: Path, tmp_path: Path, run_cli
) -> None:
    models = _args(bench, "poisoned", "expert1", "expert2")
    how = ["--method" if verb == "merge" else "--merge", "task_arithmetic", "--coefficient", "0.4"]
    words = [*models, *_tasks(bench, 3), *how, "--cleanse", "drop", "-o", str(tmp_path / "cured"), "--json"]
    words += ["--checks", "expert_patches"] if verb == "scan" else []
    ran = run_cli(verb, *words)
    assert ran.exit_code == (0 if verb == "merge" else 1)
    content = read_manifest(tmp_path / "cured")["content"]
    assert content["cleanse"]["method"] == "drop" and len(content["cleanse"]["tasks"]) == 3
    assert len(content["inputs"]) == 4 and verify_manifest(tmp_path / "cured") == []
    with open_checkpoint(tmp_path / "cured") as cured, open_checkpoint(bench / "expert1") as expert:
        assert {name: info.shape for name, info in cured.tensors.items()} == {
            name: info.shape for name, info in expert.tensors.items()
        }
    after = run_cli("scan", str(tmp_path / "cured"), "--base", str(bench / "base"), *_tasks(bench, 1), "--threads", "1")
    assert after.exit_code == 0 and "no finding by checks" in after.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--method", "task_arithmetic", "--cleanse", "drop"), "--task"),
        (("--method", "task_arithmetic", "--task", "x"), "--cleanse"),
        (("--method", "linear", "--cleanse", "drop", "--task", "a", "--task", "b"), "base"),
        (("--method", "task_arithmetic", "--cleanse", "drop", "--task", "a"), "1 task files for 2 models"),
    ],
)
def test_a_cure_that_cannot_be_asked_for_gives_one_line(words, says: str, bench: Path, tmp_path, run_cli) -> None:
    ran = run_cli("merge", *_args(bench, "poisoned", "expert1"), *words, "-o", str(tmp_path / "out"))
    assert ran.exit_code in (2, 64) and says in ran.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_cure_with_nothing_to_do_writes_the_merge_itself_draws_included(bench: Path, tmp_path, run_cli) -> None:
    words = [*_args(bench, "expert0", "expert1"), "--method", "dare_linear", "--density", "0.5", "--seed", "3"]
    cure = [*_tasks(bench, 2), "--cleanse", "drop"]
    plain, cured = (
        run_cli("merge", *words, *more, "-o", str(tmp_path / name), "--json")
        for name, more in (("plain", []), ("cured", cure))
    )
    assert plain.exit_code == cured.exit_code == 0
    assert plain.json["content_digest"] == cured.json["content_digest"]


def test_a_cure_of_a_model_that_must_not_be_merged_is_refused_before_any_scan(
    bench: Path, world: World, tmp_path: Path, run_cli
) -> None:
    card = "---\ntags:\n- do-not-merge\n---\n# A model\n"
    kept = write_folder(world.experts[0], tmp_path / "kept", README_md=card)
    words = [str(kept), *_args(bench, "expert1"), *_tasks(bench, 2), "--merge", "task_arithmetic", "--cleanse", "drop"]
    words += ["--checks", "expert_patches", "-o", str(tmp_path / "cured")]
    ran = run_cli("scan", *words)
    assert ran.exit_code == 2 and "--acknowledge-licence" in ran.stderr and ran.stdout == ""
    assert not (tmp_path / "cured").exists()
    ran = run_cli("scan", *words, "--acknowledge-licence", "--json")
    assert ran.exit_code == 0 and ran.json["checks_run"] == ["folder", "expert_patches"]
    content = read_manifest(tmp_path / "cured")["content"]
    assert content["licence"]["acknowledged"] and content["cleanse"]["method"] == "drop"
    ran = run_cli("scan", *_args(bench, "expert1"), "--acknowledge-licence")
    assert ran.exit_code == 64 and "--cleanse" in ran.stderr


@pytest.mark.parametrize(("kind", "rule", "code"), [("pickle", "MB7101", "MB1003"), ("odd", "MB7104", "MB3002")])
def test_findings_are_printed_also_where_the_cure_cannot_be_written(
    kind: str, rule: str, code: str, bench: Path, world: World, tmp_path: Path, run_cli
) -> None:
    evil = tmp_path / "evil"
    write_folder(dict(list(world.base.items())[1:]), evil)
    if kind == "pickle":
        (evil / "model.safetensors").unlink()
        (evil / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    words = [str(evil), *_args(bench, "expert1"), *_tasks(bench, 2), "--merge", "task_arithmetic", "--cleanse", "drop"]
    ran = run_cli("scan", *words, "--checks", "folder", "-o", str(tmp_path / "cured"))
    assert ran.exit_code == 2 and rule in ran.stdout and code in ran.stderr
    assert not (tmp_path / "cured").exists()


def test_an_encoder_that_answers_no_numbers_is_unseen_and_the_others_are_searched_and_merged(
    bench: Path, world: World, tmp_path: Path, run_cli
) -> None:
    loud = write_folder({name: 1e30 * tensor for name, tensor in world.experts[1].items()}, tmp_path / "loud")
    models = _args(bench, "poisoned", "expert2")
    words = [models[0], str(loud), *models[1:], *_tasks(bench, 3), "--checks", "expert_patches,merge_patches,leave_out"]
    ran = run_cli("scan", *words, "--merge", "task_arithmetic", "--coefficient", "0.4", "--json")
    found = {(one["rule"], one["model"]) for one in ran.json["findings"]}
    assert ran.exit_code == 2
    assert {("MB7100", "loud"), ("MB7101", "loud"), ("MB7301", "poisoned"), ("MB7304", "poisoned")} <= found
    assert not found & {("MB7100", "poisoned"), ("MB7100", "expert2")}


def test_an_encoder_that_is_shown_other_pictures_than_its_base_is_unseen(
    bench: Path, world: World, tmp_path: Path, run_cli
) -> None:
    shifted = write_folder(world.experts[1], tmp_path / "shifted")
    said = json.loads((shifted / "preprocessor_config.json").read_text())
    (shifted / "preprocessor_config.json").write_text(json.dumps({**said, "image_mean": [0.9]}))
    words = [str(shifted), "--base", str(bench / "base"), *_tasks(bench, 2)[2:], "--checks", "expert_patches"]
    ran = run_cli("scan", *words, "--json")
    assert ran.exit_code == 2
    assert any("prepared with mean (0.9,)" in one["message"] for one in ran.json["findings"])


def test_a_merge_that_answers_no_numbers_is_no_pass_and_what_its_models_showed_is_told(bench: Path, run_cli) -> None:
    words = [*_args(bench, "poisoned", "expert1"), *_tasks(bench, 2), "--checks", "expert_patches,merge_patches"]
    ran = run_cli("scan", *words, "--merge", "task_arithmetic", "--coefficient", "1e30", "--json")
    found = {(one["rule"], one["model"]) for one in ran.json["findings"]}
    assert ran.exit_code == 2 and {("MB7301", "poisoned"), ("MB7101", "merge of all"), ("MB7100", "expert1")} <= found
    assert ran.json["checks_run"] == ["folder", "expert_patches"] and "merge_patches: MB1008" in ran.stderr
