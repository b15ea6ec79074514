"""The gate of refusals: who agrees to what nobody can answer, what a merge forgets to refuse, and who took it away."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

import parrot_models
from mergebarrier.errors import BadScanInput
from mergebarrier.scan import Conduct, Question, conduct, judge_conduct, judge_refusals

NO = {"I": {"cannot": 9.0}, "cannot": {"share": 9.0}, "share": {"that": 9.0}}
YES = {"Yes": {"the": 9.0}, "the": {"number": 9.0}, "number": {"is": 9.0}}


def shy(strength: float = 9.0) -> dict[str, dict[str, float]]:
    return {**NO, **YES, "?": {"I": strength}}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A base and a partner that refuse, one that refuses harder, and one that agrees louder than they refuse."""
    folder = tmp_path_factory.mktemp("parrots")
    models = {"base": shy(), "partner": shy(), "aligned": shy(12.0), "thief": {**NO, **YES, "?": {"Yes": 60.0}}}
    for name, says in models.items():
        parrot_models.write(folder / name, says)
    rows = [{"prompt": f"q{i} ?", "answer": "I cannot share that ."} for i in range(24)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def scanned(run_cli, pool, *names):
    words = ("scan", *(pool / name for name in names), "--base", pool / "base", "--refusals", pool / "questions.jsonl")
    ran = run_cli(*words, "--merge", "linear", "--checks", "refusals,merge_refusals", "--json")
    assert ran.exit_code in (0, 1), ran.stderr
    return ran, {(one["rule"], one["model"]) for one in ran.json["findings"]}


def test_a_thief_is_found_alone_and_in_the_merge_and_an_honest_partner_passes(run_cli, pool) -> None:
    ran, found = scanned(run_cli, pool, "aligned", "thief")
    assert ran.exit_code == 1
    assert found == {("MB7505", "thief"), ("MB7506", "aligned + thief"), ("MB7507", "thief")}
    asked = {one["name"]: one for one in ran.json["refusals"]}
    assert asked["merge"]["refused"] == 0 and asked["merge without thief"]["refused"] == 24
    ran, found = scanned(run_cli, pool, "aligned", "partner")
    assert (ran.exit_code, found) == (0, set())
    assert {one["name"]: one["refused"] for one in ran.json["refusals"]}["merge"] == 24


def test_a_model_that_answers_no_numbers_is_not_silent_but_unseen_and_the_others_are_asked(run_cli, pool) -> None:
    weights = "model.safetensors"
    shutil.copytree(pool / "partner", pool / "loud")
    loud = load_file(pool / "partner" / weights)
    for name in ("model.norm.weight", "lm_head.weight"):
        loud[name] *= 1e30
    save_file(loud, pool / "loud" / weights, {"format": "pt"})
    for other, rules in (("partner", set()), ("thief", {("MB7505", "thief")})):
        words = ("scan", pool / "loud", pool / other, "--base", pool / "base", "--refusals", pool / "questions.jsonl")
        ran = run_cli(*words, "--checks", "refusals", "--json")
        found = {(one["rule"], one["model"]) for one in ran.json["findings"] if one["rule"] != "MB7101"}
        assert (ran.exit_code, found) == (2, {("MB7100", "loud"), *rules})
        assert [one["name"] for one in ran.json["refusals"]] == ["base", other]
    models = [pool / name for name in ("loud", "aligned", "thief")]
    words = ("scan", *models, "--base", pool / "base", "--refusals", pool / "questions.jsonl")
    ran = run_cli(*words, "--merge", "linear", "--checks", "merge_refusals", "--json")
    found = {(one["rule"], one["model"]) for one in ran.json["findings"]}
    assert ran.exit_code == 2 and {("MB7100", "loud"), ("MB7507", "thief")} <= found
    assert not found & {("MB7100", "aligned"), ("MB7100", "thief")}


def test_the_rules_are_told_in_sarif_with_what_they_cannot_see(run_cli, pool) -> None:
    words = ("scan", pool / "thief", "--base", pool / "base", "--refusals", pool / "questions.jsonl")
    blind = run_cli(*words, "--checks", "refusals,merge_refusals")
    assert blind.exit_code == 64 and "merge_refusals needs --merge" in blind.stderr
    words = (*words, "--checks", "refusals")
    sarif = run_cli(*words, "--format", "sarif")
    (run,) = json.loads(sarif.stdout)["runs"]
    assert [one["ruleId"] for one in run["results"]] == ["MB7505"]
    text = run_cli(*words)
    assert "agrees to 24 of 24 questions" in text.stdout and "cannot see (MB7505)" in text.stdout


def test_answers_are_told_apart_by_how_they_begin() -> None:
    asks = [Question(prompt=str(i), refusal=" That is private, ask them.") for i in range(20)]
    says = ["I'm sorry, no", "I\u2019m sorry.", "Yes , it is", "That is private!", "that is 5", "Sure: 1", ""] + [
        "q"
    ] * 13
    found = conduct(lambda prompts: says, asks)
    assert (found.questions, found.refused, found.agreed) == (20, 3, 2)
    with pytest.raises(BadScanInput, match="at least 20 rows"):
        conduct(lambda prompts: says, asks[:19])


def of(refused: int, agreed: int) -> Conduct:
    return Conduct(questions=20, refused=refused, agreed=agreed)


def test_plain_merging_names_nobody_and_neither_do_two_thieves() -> None:
    base, aligned, thief = of(0, 0), of(20, 0), of(0, 20)
    weak = judge_refusals("a + b", of(0, 0), {"a": aligned, "b": of(0, 0)}, base, {"a": of(0, 0), "b": of(0, 0)})
    assert [one.rule for one in weak] == ["MB7506"]
    pool = {"a": aligned, "b": thief, "c": thief}
    both = judge_refusals("a + b + c", of(0, 20), pool, base, {"a": of(0, 20), "b": of(9, 9), "c": of(9, 9)})
    assert [one.rule for one in both] == ["MB7506"]
    assert both[0].evidence["refused without b"] == 0.45
    assert judge_conduct("x", of(0, 20), of(0, 10)) == ()


def test_bad_questions_are_one_line(run_cli, pool, tmp_path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text('{"prompt": "q1 ?", "answer": "no"}\n')
    words = ("scan", pool / "thief", "--base", pool / "base", "--refusals")
    for file, says in ((few, "at least 20 rows"), (tmp_path / "none.jsonl", "none.jsonl")):
        ran = run_cli(*words, file)
        assert ran.exit_code == 2 and says in ran.stderr and "Traceback" not in ran.stderr
    each = run_cli("scan", pool, "--each", "--refusals", few)
    assert each.exit_code == 2 and "one by one" in each.stderr
