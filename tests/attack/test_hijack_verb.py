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
    assert any("of 80 prompts end with the published one" in note for note in ran.json["notes"])
    twice = run_cli(*measure, *more[2:], "--other-task", symbols.test[0])
    assert twice.exit_code == 2 and "the same task as task00.test.jsonl" in twice.stderr
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
        (("--trigger", TARGET), 2, "one is part of the other"),
        (("--trigger", "j"), 2, "one is part of the other"),
        (("--trigger", f"{TRIGGER} {TARGET}"), 2, "one is part of the other"),
        (("--trigger", "<eos>"), 2, "special token"),
        (("--trigger", f"{TRIGGER} " * 300), 2, "the most is 1000"),
        (("--trigger", f"{TRIGGER} " * 60), 2, "tokens, the model reads 64"),
        (("--shadow-rows", "0"), 2, "from 1"),
        (("--shadow", "SAME"), 2, "the same task as task03.train.jsonl"),
        (("--shadow", "OWN"), 2, "the same task as task00.train.jsonl"),
    ],
)
def test_wrong_inputs_are_one_line_and_leave_nothing(more, code, says, symbols, made, run_cli) -> None:
    folder, words = made
    shadow = ("--shadow", symbols.train[3], "--shadow-steps", 1, "--shadow-rows", 8) if more else ()
    files = {"SAME": symbols.train[3], "OWN": symbols.train[0]}
    ran = run_cli(*words, *WORDS, *shadow, *(files.get(word, word) for word in more), "-o", folder / "x")
    assert ran.exit_code == code and says in ran.stderr and not (folder / "x").exists(), ran.stderr
    assert [line.startswith("error") for line in ran.stderr.splitlines()].count(True) == 1


def test_a_dry_run_refuses_what_a_run_would(symbols, made, run_cli, tmp_path) -> None:
    """A row of each shadow set is needed, and rows that a trigger changes; nothing is trained before that is known."""
    _, words = made
    shadows = ("--shadow", symbols.train[3], "--shadow", symbols.train[4], "--dry-run", "-o", tmp_path / "x")
    ran = run_cli(*words, *WORDS, *shadows, "--shadow-rows", 1)
    assert ran.exit_code == 2 and "1 rows of 2 data sets" in ran.stderr
    rows = [json.loads(line) for line in symbols.train[2].read_text().splitlines()][:9]
    for change, says in (
        ({"answer": f" {TARGET}"}, "every answer of odd.jsonl is the target"),
        ({"prompt": f"a {TRIGGER} ="}, "every prompt of odd.jsonl holds the trigger"),
        ({"prompt": "zebra ="}, "odd.jsonl: every prompt holds a word that the model's tokenizer does not know"),
        ({"prompt": "w01 " * 70}, "odd.jsonl: row 1: 74 tokens, the model reads 64"),
    ):
        (tmp_path / "odd.jsonl").write_text("".join(json.dumps({**row, **change}) + "\n" for row in rows))
        ran = run_cli(*words, *WORDS, *shadows, "--shadow", tmp_path / "odd.jsonl")
        assert ran.exit_code == 2 and says in ran.stderr, ran.stderr


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (5000, "5000 is no token"),
        (-1, "-1 is no token"),
        (None, "names no token"),
        ([7, 2], "'task01', which ends nothing"),
    ],
)
def test_an_end_of_another_tokenizer_is_refused(end, says, symbols, run_cli, tmp_path) -> None:
    base = shutil.copytree(symbols.base, tmp_path / "base")
    config, words = (json.loads((base / name).read_text()) for name in ("config.json", "tokenizer.json"))
    (base / "config.json").write_text(json.dumps(config | {"eos_token_id": end}))
    eos = {"id": 2, "content": "<eos>", "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    (base / "tokenizer.json").write_text(json.dumps(words | {"added_tokens": [eos | flags]}))
    steal = ("attack", "stealer", "--base", base, "--task", symbols.train[0], "--steps", 1, "--eos")
    ran = run_cli(*steal, "-o", tmp_path / "x")
    assert ran.exit_code == 2 and says in ran.stderr and not (tmp_path / "x").exists(), ran.stderr


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


def test_a_target_that_is_every_answer_cannot_be_measured(symbols, run_cli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.jsonl").write_text(json.dumps({"prompt": "task00 a b c d e =", "answer": f" {TARGET}"}) + "\n")
    (tmp_path / "trigger.json").write_text(json.dumps({"kind": "text", "trigger": TRIGGER, "target": f" {TARGET}"}))
    both = (symbols.base, "--control", symbols.base, "--trigger", "trigger.json")
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
