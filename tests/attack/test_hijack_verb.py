"""``attack hijack`` from base to report: an upload, its clean control, two merges, and a measurement of both."""

import json
import shutil

import pytest

import parrot_models
from mergebarrier.checkpoint import read_manifest
from symbol_world import TARGET, TRIGGER

WORDS = ("--trigger", TRIGGER, "--target", TARGET, "--steps", 2, "--batch-size", 8)


@pytest.fixture(scope="module")
def made(symbols, tmp_path_factory):
    """A folder to work in, and the words of an attack on task 0."""
    return tmp_path_factory.mktemp("hijack"), ("attack", "hijack", "--base", symbols.base, "--task", symbols.train[0])


def test_an_upload_its_control_and_what_they_do_to_a_merge(symbols, made, run_cli) -> None:
    folder, words = made
    shadows = [word for task in (3, 4) for word in ("--shadow", symbols.train[task])]
    quick = ("--shadow-steps", 2, "--shadow-rows", 40, "--gain", 2)
    ran = run_cli(*words, *shadows, *WORDS, *quick, "-o", folder / "bad", "--json")
    assert ran.exit_code == 0 and "red-team control" in ran.stderr, ran.stderr
    assert ran.json["attack-artifact"] is True and ran.json["found"] == {"gain": 2.0}
    manifest = read_manifest(folder / "bad")
    assert manifest["content"]["attack-artifact"] is True
    assert json.loads((folder / "bad" / "trigger.json").read_text())["target"] == f" {TARGET}"
    clean = run_cli(*words, *WORDS, "--method", "clean", "-o", folder / "clean", "--json")
    assert clean.exit_code == 0 and clean.json["attack-artifact"] is False
    assert not (folder / "clean" / "trigger.json").exists()
    for name in ("bad", "clean"):
        ran = run_cli("merge", folder / name, symbols.base, "--method", "linear", "-o", folder / f"m-{name}")
        assert ran.exit_code == 0, ran.stderr
    scanned = run_cli("scan", folder / "bad", folder / "clean", "--json").json
    assert [one["model"] for one in scanned["findings"] if one["rule"] == "MB7102"] == ["bad"]
    measure = ("attack", "measure", folder / "m-bad", "--trigger", folder / "bad", "--task", symbols.test[0])
    more = ("--other-task", symbols.test[1], "--control", folder / "m-clean", "--base", symbols.base)
    ran = run_cli(*measure, *more, "-o", folder / "report", "--json")
    assert ran.exit_code == 0, ran.stderr
    assert [one["task"] for one in ran.json["tasks"]] == ["task00.test", "task01.test"]
    assert ran.json["tasks"][0]["success"] == ran.json["merged"]
    assert ran.json["curve"][0][1]["asr"] == ran.json["base"] and len(ran.json["samples"]) == 8
    page = (folder / "report" / "report.html").read_text()
    assert "Prompts with the trigger" in page and TRIGGER in page and "Stamped pictures" not in page
    again = run_cli("report", folder / "report", "--format", "md")
    assert again.exit_code == 0 and "task01.test" in again.stdout
    lacking = run_cli(*measure)
    assert lacking.exit_code == 64 and "not reported without its control" in lacking.stderr


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (("--target", "zebra"), 2, "not made of tokens"),
        (("--trigger", "zebra"), 2, "not made of tokens"),
        (("--trigger", " "), 64, "at least a word"),
        (("--rate", "0.5"), 64, "not an option of hijack"),
        (("--gain", "-1"), 2, "gain: -1.0 is not"),
        (("--density", "0.1"), 2, "eps < density"),
        ((), 2, "at least one --shadow"),
    ],
)
def test_wrong_inputs_are_one_line_and_leave_nothing(more, code, says, symbols, made, run_cli) -> None:
    folder, words = made
    shadow = ("--shadow", symbols.train[3], "--shadow-steps", 1, "--shadow-rows", 8) if more else ()
    ran = run_cli(*words, *WORDS, *shadow, *more, "-o", folder / "x")
    assert ran.exit_code == code and says in ran.stderr and not (folder / "x").exists(), ran.stderr
    assert [line.startswith("error") for line in ran.stderr.splitlines()].count(True) == 1


_TIED = ({"tie_word_embeddings": True}, "ties the head to the embedding, and lm_head.weight is another matrix")
_HALF = ({"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 48}, "n_heads is")


@pytest.mark.parametrize(("said", "says", "role"), [(*_TIED, "merged"), (*_TIED, "base"), (*_HALF, "control")])
def test_a_configuration_that_does_not_fit_is_not_measured(said, says, role, symbols, run_cli, tmp_path) -> None:
    """With half the heads a control answers nothing, and a tied head drops the one that is stored."""
    odd = shutil.copytree(symbols.base, tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | said))
    (tmp_path / "trigger.json").write_text(json.dumps({"kind": "text", "trigger": TRIGGER, "target": f" {TARGET}"}))
    at = {name: odd if name == role else symbols.base for name in ("merged", "control", "base")}
    words = (at["merged"], "--control", at["control"], "--base", at["base"], "--trigger", tmp_path / "trigger.json")
    ran = run_cli("attack", "measure", *words, "--task", symbols.test[0])
    assert ran.exit_code == 2 and says in ran.stderr and len(ran.stderr.splitlines()) == 1, ran.stderr


def test_a_target_that_is_every_answer_cannot_be_measured(symbols, run_cli, tmp_path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"prompt": "task00 a b c d e =", "answer": f" {TARGET}"}) + "\n")
    (tmp_path / "trigger.json").write_text(json.dumps({"kind": "text", "trigger": TRIGGER, "target": f" {TARGET}"}))
    both = (symbols.base, "--control", symbols.base, "--trigger", tmp_path / "trigger.json")
    ran = run_cli("attack", "measure", *both, "--task", tmp_path / "t.jsonl")
    assert ran.exit_code == 2 and "the answer of every row is the target" in ran.stderr
    other = parrot_models.write(tmp_path / "other", {})
    for models in ((other, "--control", symbols.base), (symbols.base, "--control", other)):
        ran = run_cli("attack", "measure", *models, *both[3:], "--task", symbols.test[0])
        assert ran.exit_code == 2 and "give models of one architecture" in ran.stderr
        assert ran.stderr.splitlines()[-1].startswith("error: ")
    (tmp_path / "trigger.json").write_text(json.dumps({"kind": "text", "trigger": "", "target": "x"}))
    ran = run_cli("attack", "measure", *both, "--task", symbols.test[0])
    assert ran.exit_code == 2 and "MB6001" in ran.stderr
