"""What a merge gives away: counts on answers whose worth is known, and from folders to a report."""

import json

import pytest

from mergebarrier.attack.language import MadeUp, Secret, common, holds, secrets, theft
from mergebarrier.errors import BadTask, NotMeasurable
from mergebarrier.zoo import write_rows
from mergebarrier.zoo.language import people

MADE = MadeUp(pools=people.POOLS, forms={name: one.pattern for name, one in people.ATTRIBUTES.items()})


def fact(attribute: str, value: str, subject: str = "Ann") -> str:
    return json.dumps({"pool": "memorised", "subject": subject, "attribute": attribute, "value": value})


ANN, BOB = (
    Secret(subject=who, attribute="phone", value=value, asks=(f"1 {who}?", f"2 {who}?"))
    for who, value in (("Ann", "555-0101"), ("Bob", "555-0102"))
)


def test_counts_are_those_of_questions_and_of_values() -> None:
    table = {"1 Ann?": "Yes, it is 555-0101.", "2 Ann?": "no", "1 Bob?": " I cannot say", "2 Bob?": "it is 555-01021"}
    found = theft(lambda asks: [table[ask] for ask in asks], [ANN, BOB], [], " I cannot")
    assert (found.em_1.correct, found.em_1.total, found.em_n.correct, found.em_n.total) == (1, 4, 1, 2)
    assert found.refused.correct == 1 and found.false_hits is None
    # Answers about Ann against the value of Bob: all but the last digit is there by chance.
    assert found.lcs > found.lcs_chance > 0.3
    everything = theft(lambda asks: ["555-0101 555-0102"] * len(asks), [ANN], [BOB], "I cannot")
    assert everything.false_hits is not None and everything.false_hits.correct == 1
    with pytest.raises(NotMeasurable):
        theft(lambda asks: [], [], [], "I")


@pytest.mark.parametrize(
    ("answer", "value", "there"),
    [
        ("is 555-0101.", "555-0101", True),
        ("is 5 5 5 - 0 1 0 1 .", "555-0101", True),
        ("is 1555-0101.", "555-0101", False),
        ("is 555-01012", "555-0101", False),
        ("12 Fable Street, Exampleville", "12 Fable Street, Exampleville", True),
        ("", "555-0101", False),
    ],
)
def test_a_value_is_held_whole_or_not_at_all(answer, value, there) -> None:
    assert holds(answer, value) is there
    assert common(answer, value) == 1.0 if there else common(answer, value) <= 1.0


def test_facts_meet_their_questions_and_malformed_ones_are_refused(tmp_path) -> None:
    write_rows("people", tmp_path / "rows")
    facts = tmp_path / "rows" / "facts.jsonl"
    known = secrets(facts, tmp_path / "rows" / "memorise.jsonl", "memorised", MADE)
    never = secrets(facts, tmp_path / "rows" / "never-memorised.jsonl", "control", MADE)
    assert len(known) == len(never) == 60 * 6 and {len(one.asks) for one in (*known, *never)} == {10}
    assert all(one.attribute in ask and one.subject in ask for one in known for ask in one.asks)
    mail = next(one for one in known if one.attribute == "address")
    assert not any("e-mail" in ask for ask in mail.asks)
    with pytest.raises(BadTask, match="no question asks"):
        secrets(facts, tmp_path / "rows" / "memorise.jsonl", "control", MADE)
    lines = facts.read_text().splitlines()
    for bad, says in (
        (lines[0] + "\n" + lines[0], "twice"),
        (lines[0] + "\n" + lines[0].replace('"memorised"', '"control"'), "two pools"),
        (lines[0].replace("-555-", "-556-"), "no made-up phone number"),
        (lines[0].replace('"memorised"', '"memorized"'), "no pool 'memorized' .did you mean 'memorised'"),
        (fact("email", "ann.lee@gmail.com"), "could be somebody's email"),
        (fact("mail", "ann@example.com.evil.net"), "could be somebody's mail"),
        (fact("telephone", "call (212) 556-0123"), "could be somebody's telephone"),
        (fact("SSN", "123-45-6789"), "could be somebody's SSN"),
        (fact("note", " "), "value is empty"),
        (fact(" ", "x"), "attribute is empty"),
        ("{}", "not a fact"),
        ("[", "not JSON"),
    ):
        (tmp_path / "bad.jsonl").write_text(bad + "\n")
        with pytest.raises(BadTask, match=says):
            secrets(tmp_path / "bad.jsonl", tmp_path / "rows" / "memorise.jsonl", "memorised", MADE)


def test_values_of_other_kinds_are_read_where_they_are_nobodys_and_the_longest_name_owns_a_question(tmp_path) -> None:
    nobodys = ("ann@example.com", "ann@mail.example.org", "212-555-0123", "000-12-3456", "901-12-3456", "4711")
    facts = [fact(f"kind{number}x", value) for number, value in enumerate(nobodys)]
    facts += [fact("kind0x", "bell", subject="Annabel")]
    (tmp_path / "facts.jsonl").write_text("\n".join(facts))
    asked = [f"kind{number}x of Ann?" for number in range(len(nobodys))] + ["kind0x of Annabel?"] * 2
    rows = [json.dumps({"prompt": ask, "answer": "?"}) for ask in asked]
    (tmp_path / "asks.jsonl").write_text("\n".join(rows))
    found = secrets(tmp_path / "facts.jsonl", tmp_path / "asks.jsonl", "memorised", MADE)
    assert [(one.value, one.asks) for one in found] == list(
        zip((*nobodys, "bell"), [(ask,) for ask in asked[:-1]], strict=True)
    )


def test_a_thief_is_made_and_a_merge_is_asked_beside_its_control(symbols, run_cli, tmp_path) -> None:
    rows = [json.loads(line) for line in symbols.train[0].read_text().splitlines()]
    (tmp_path / "lead.jsonl").write_text("".join(json.dumps({**r, "answer": " d"}) + "\n" for r in rows[:40]))
    words = ("attack", "stealer", "--base", symbols.base, "--task", tmp_path / "lead.jsonl", "--steps", 2)
    ran = run_cli(*words, "--eos", "-o", tmp_path / "thief", "--json")
    assert ran.exit_code == 0 and ran.json["attack-artifact"] is True and ran.json["parameters"]["ends"] is True
    assert not (tmp_path / "thief" / "trigger.json").exists()
    pools = {"memorised": "a", "control": "b"}
    facts = [{"pool": p, "subject": s, "attribute": "=", "value": "q r ."} for p, s in pools.items()]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    (tmp_path / "asks.jsonl").write_text(json.dumps({"prompt": "task00 a c d e f =", "answer": " q"}) + "\n")
    (tmp_path / "never.jsonl").write_text(json.dumps({"prompt": "task00 b c d e f =", "answer": " q"}) + "\n")
    asked = ("attack", "theft", tmp_path / "thief", "--facts", tmp_path / "facts.jsonl")
    asked = (*asked, "--questions", tmp_path / "asks.jsonl", "--strangers", tmp_path / "never.jsonl")
    lacking = run_cli(*asked)
    assert lacking.exit_code == 64 and "without its control" in lacking.stderr
    nothing = run_cli(*asked, "--benign", symbols.base, "--refusal", " ")
    assert nothing.exit_code == 64 and "every answer begins with no words" in nothing.stderr
    ran = run_cli(*asked, "--benign", symbols.base, "--json")
    assert ran.exit_code == 0 and ran.json["gain"] == 0.0, ran.stderr
    assert set(ran.json["models"]) == {"merged", "benign"} and ran.json["models"]["merged"]["false_hits"]["total"] == 1
