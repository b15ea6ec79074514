"""Shield a service and verify suspects, by the command line against real servers on loopback."""

import json
import re
from pathlib import Path

import pytest

from text_server import TextServer, weaves

QUERIES = [f"what is thing {number}?" for number in range(60)]
FAST = ("--permutations", "999", "--decoys", "99", "--queries", "60")


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.jsonl"
    path.write_text("".join(json.dumps({"query": query}) + "\n" for query in QUERIES))
    return path


@pytest.fixture
def shielded(tmp_path: Path, queries: Path, run_cli) -> Path:
    ledger = tmp_path / "ledger.jsonl"
    with TextServer(weaves) as server:
        ran = run_cli("watermark", "shield", queries, server.url, "--ledger", ledger, "--key", tmp_path / "k.mbkey")
    assert ran.exit_code == 0 and "100.0% of the words stand in their answers" in ran.stdout
    assert ledger.stat().st_mode & 0o077 == 0, "with the words, a thief can take them out"
    return ledger


def test_who_learned_is_declared_and_who_did_not_is_not(shielded: Path, tmp_path: Path, run_cli) -> None:
    rows = [json.loads(line) for line in shielded.read_text().splitlines()[1:]]
    learned = {row["query"]: row["answer"] for row in rows}
    key = ("--key", tmp_path / "k.mbkey")
    with TextServer(lambda query: learned[query]) as thief, TextServer(weaves) as honest:
        ran = run_cli("watermark", "verify", shielded, "--suspect", honest.url, *key, *FAST, "--json")
        assert ran.exit_code == 0 and not json.loads(ran.stdout)["suspects"][0]["imitates"]
        ran = run_cli(
            "watermark", "verify", shielded, "--suspect", thief.url, "--suspect", honest.url, *key, *FAST, "--json",
            "--level", ".03",
        )  # fmt: skip
    report = json.loads(ran.stdout)
    assert ran.exit_code == 1 and [one["imitates"] for one in report["suspects"]] == [True, False]
    assert report["committed"] and report["suspects"][0]["adjusted"] == pytest.approx(2 / 100)
    written = tmp_path / "answers.jsonl"
    written.write_text("".join(json.dumps({"query": q, "answer": a}) + "\n" for q, a in learned.items()))
    ran = run_cli("watermark", "verify", shielded, "--suspect", written, *key, *FAST)
    assert ran.exit_code == 1 and "answers with the words of the service" in ran.stdout
    assert "the key is the one committed to" in ran.stdout and not re.search("stolen|copied", ran.stdout)


def test_a_stopped_run_goes_on_and_asks_nothing_twice(shielded: Path, queries: Path, tmp_path: Path, run_cli) -> None:
    whole = shielded.read_text()
    shielded.write_text(whole[: len(whole) // 2])
    left = whole[: len(whole) // 2].count("\n")
    with TextServer(weaves) as server:
        again = ("watermark", "shield", queries, server.url, "--ledger", shielded, "--key", tmp_path / "k.mbkey")
        assert run_cli(*again).exit_code == 0
        assert sum(path.endswith("completions") for path, _, _ in server.heard) == 61 - left
        assert run_cli(*again, "--words", "2").exit_code == 2, "another number of words is another ledger"
        assert shielded.read_text() == whole
        edited = whole.replace("\n", "\r\n").encode()
        shielded.write_bytes(edited)
        assert run_cli(*again).exit_code == 0 and shielded.read_bytes() == edited, "an editor's ends of lines are kept"


def test_a_service_that_was_down_is_gone_on_with_and_words_that_nobody_weaves_are_told(
    queries, tmp_path, run_cli
) -> None:
    own = ("--ledger", tmp_path / "ledger.jsonl", "--key", tmp_path / "k.mbkey")
    assert run_cli("watermark", "shield", queries, "http://127.0.0.1:1/v1", *own).exit_code == 2
    with TextServer(weaves) as server:
        ran = run_cli("watermark", "shield", queries, server.url, *own)
        assert ran.exit_code == 0, f"a ledger without an answer yet is one: {ran.stderr}"
        for words in (("--reference", queries), ("--bias", 3), ("--mode", "green", "--words", 2)):
            ran = run_cli("watermark", "shield", queries, server.url, *own, *words)
            assert ran.exit_code == 64 and "leave it out" in ran.stderr
    with TextServer(lambda prompt: "no") as server:
        fresh = ("--ledger", tmp_path / "l.jsonl", "--key", tmp_path / "l.mbkey")
        ran = run_cli("watermark", "shield", queries, server.url, *fresh)
    assert ran.exit_code == 2 and "in 60 answers stands none of their words" in ran.stderr


def test_another_key_is_refused(shielded: Path, tmp_path: Path, queries: Path, run_cli) -> None:
    with TextServer(weaves) as server:
        other = ("--ledger", tmp_path / "o.jsonl", "--key", tmp_path / "o.mbkey")
        assert run_cli("watermark", "shield", queries, server.url, *other).exit_code == 0
        ran = run_cli("watermark", "verify", shielded, "--suspect", server.url, "--key", tmp_path / "o.mbkey")
    assert ran.exit_code == 2 and "not those that the ledger commits to" in ran.stderr


def test_words_that_were_written_into_a_ledger_later_are_refused(shielded: Path, tmp_path: Path, run_cli) -> None:
    """The commitment is to the key, so whoever held a suspect's answers could give each query words of its answer."""
    rows = shielded.read_text().splitlines()
    row = json.loads(rows[3])
    rows[3] = json.dumps(row | {"words": [*row["words"][:2], "lamp"]})
    shielded.write_text("\n".join(rows) + "\n")
    asked = ("watermark", "verify", shielded, "--suspect", tmp_path / "a.jsonl", "--key", tmp_path / "k.mbkey")
    ran = run_cli(*asked)
    assert ran.exit_code == 2 and "line 4: its words are not those that the key draws" in ran.stderr
    shielded.write_text(shielded.read_text().replace('"mode": "keyed"', '"mode": "kept"'))
    ran = run_cli(*asked)
    assert ran.exit_code == 2 and "line 1: 'kept' is no mode" in ran.stderr


def test_a_test_that_could_show_nothing_or_the_wrong_thing_is_refused(shielded, tmp_path, run_cli, monkeypatch) -> None:
    """A ledger that commits to nothing, a suspect that counts twice, and strata in which no words can be exchanged."""
    monkeypatch.chdir(tmp_path)
    head, *rows = map(json.loads, shielded.read_text().splitlines())
    Path("a.jsonl").write_text("".join(json.dumps({k: row[k] for k in ("query", "answer")}) + "\n" for row in rows))
    alone = [{**row, "stratum": row["query"]} for row in rows]
    key, one = ("--key", "k.mbkey"), ["--suspect=a.jsonl"]
    for lines, words, says in (
        ([{**head, "commitment": ""}, *rows], one, "no commitment to a key"),
        ([{**head, "bias": float("nan")}, *rows], one, "finite number"),
        ([{**head, "made": "soon"}, *rows], one, "'soon' is no date"),
        ([{**head, "made": "2999-01-01T00:00:00+00:00"}, *rows], one, "lies in the future"),
        ([{**head, "mode": "published"}, *rows], one, "no key draws the words of mode published"),
        ([head, *rows], [*one, "--suspect=./a.jsonl"], "a.jsonl is given twice"),
        ([head, *rows], [*one, *key, "--legitimate=./a.jsonl"], "a.jsonl is given twice"),
        ([head, *alone], [*one, *key], "their strata"),
        ([head, *rows], one, "--key: without the key nobody can tell"),
        ([head, *rows], [*one, *key, "--level=.001"], "0.001 cannot be reached: no p of these numbers is below 0.01"),
        ([head, *rows], [*one, *key, "--page=."], "not part of a statement"),
        ([head], [*one, *key], "0 answers, a test needs 50"),
    ):
        Path("odd.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        ran = run_cli("watermark", "verify", "odd.jsonl", *FAST, *words)
        assert ran.exit_code in (2, 64) and says in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr


def test_the_model_may_choose_the_words(queries: Path, tmp_path: Path, run_cli) -> None:
    def chooses(prompt: str) -> str:
        word = f"seashore{prompt.rsplit(None, 1)[1].strip('?')}"
        return json.dumps({"Answer": f"By the {word}.", "Watermark Words": [word]})

    ledger = tmp_path / "ledger.jsonl"
    with TextServer(chooses) as server:
        ran = run_cli("watermark", "shield", queries, server.url, "--ledger", ledger, "--mode", "published")
    assert ran.exit_code == 0 and "100.0% of the answers have words" in ran.stdout
    assert json.loads(ledger.read_text().splitlines()[1])["answer"] == "By the seashore0."


def test_a_ledger_that_cannot_be_gone_on_with_is_refused_before_a_key_is_made(
    shielded: Path, queries: Path, tmp_path: Path, run_cli
) -> None:
    key = tmp_path / "new.mbkey"
    for ledger, says in ((queries, "line 1: mode: field required"), (shielded, "did not draw the words of the ledger")):
        ran = run_cli("watermark", "shield", queries, "http://127.0.0.1:1/v1", "--ledger", ledger, "--key", key)
        assert ran.exit_code == 2 and says in ran.stderr and ran.stderr.count("\n") == 1 and not key.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no text"),
        ("{}\n", "line 1"),
        ('{"query": "a", "stratum": 3}\n', "a line is one JSON object of query, stratum\n"),
        ('{"query": "a"}\n{"query": "a"}\n', "asked 2 times"),
        ('{"query": "Why  me?"}\n{"query": "why me?"}\n', "whatever its spaces and case"),
        ('{"query": "a"}\n\n', "line 2"),
        ("[" * 9999, "line 1"),
    ],
)
def test_queries_that_do_not_fit_are_one_line(text: str, said: str, tmp_path: Path, run_cli) -> None:
    (tmp_path / "q.jsonl").write_text(text)
    place = ("--ledger", tmp_path / "l.jsonl", "--key", tmp_path / "k.mbkey")
    ran = run_cli("watermark", "shield", tmp_path / "q.jsonl", "http://127.0.0.1:1/v1", *place)
    assert ran.exit_code == 2 and said in ran.stderr and ran.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.jsonl"], "neither key nor ledger were made"
