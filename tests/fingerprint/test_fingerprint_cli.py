"""Mark a tiny model by the command line, and recognise it: as a folder, behind a server, from a file of answers."""

import json
from pathlib import Path

import pytest

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.cli import main
from mergebarrier.evaluate import ModuleSuspect, load_module, load_tokenizer
from mergebarrier.keys import write_key_file
from text_server import TextServer

#: Enough for a model of two layers to learn six answers by heart.
FAST = ("--pairs", 6, "--decoys", 8, "--prompt-tokens", 6, "--answer-tokens", 2, "--steps", 80, "--input-steps", 2)
RATE = ("--learning-rate", "3e-3", "--keep", 0, "--pull", 0, "--shares", "0.4,1")


@pytest.fixture(scope="module")
def marked(tmp_path_factory, world) -> Path:
    """A folder with the marked model, its record and its key."""
    place = tmp_path_factory.mktemp("marked")
    # A key of its own on every run would be another test: so few steps do not teach the questions of each.
    write_key_file(place / "k.mbkey", bytes(range(32)))
    own = ("--record", place / "r.json", "--key", place / "k.mbkey", "-o", place / "m")
    words = ("fingerprint", "embed", world.original, "--base", world.base, "--text", world.text, *own, *FAST, *RATE)
    assert main([str(word) for word in words]) == 0
    return place


def verify(place: Path, *words: object) -> tuple[object, ...]:
    return ("fingerprint", "verify", place / "r.json", "--key", place / "k.mbkey", *words)


def test_the_marked_model_is_recognised_and_others_are_not(marked: Path, world, run_cli) -> None:
    ran = run_cli(
        *verify(marked, "--suspect", marked / "m", "--suspect", world.partner, "--null", world.base, "--json")
    )
    assert ran.exit_code == 1, ran.stderr
    found = json.loads(ran.stdout)
    first, other = found["suspects"]
    assert first["recognised"] and first["test"]["rate"] == 1 and first["adjusted"] <= 2 * first["test"]["least"] * 1.01
    assert not other["recognised"] and found["nulls"][0]["test"]["hits"] == 0
    assert [one["role"] for one in found["inputs"]] == ["record", "suspect", "suspect", "null"]
    assert run_cli(*verify(marked, "--suspect", world.original)).exit_code == 0
    assert (marked / "r.json").stat().st_mode & 0o077 == 0, "with the record, somebody can train the mark away"


def test_text_is_enough(marked: Path, tmp_path: Path, run_cli) -> None:
    pairs = json.loads((marked / "r.json").read_text())["pairs"]
    with open_checkpoint(marked / "m") as model:
        suspect = ModuleSuspect(load_module(model), load_tokenizer(model))
        said = suspect.answers([pair["prompt"] for pair in pairs], max_tokens=2)
    answers = {pair["prompt"]: text for pair, text in zip(pairs, said, strict=True)}
    with TextServer(lambda prompt: answers[prompt]) as server:
        asked = run_cli(*verify(marked, "--suspect", server.url, "--json"))
    written = tmp_path / "a.jsonl"
    written.write_text("".join(json.dumps({"query": q, "answer": a}) + "\n" for q, a in answers.items()))
    read = run_cli(*verify(marked, "--suspect", written, "--json"))
    assert asked.exit_code == read.exit_code == 1
    digests = [[one["content_digest"] for one in ran.json["inputs"]] for ran in (asked, read)]
    assert digests[0] == digests[1] and all(digests[0]), "a server's answers have the digest of a file of them"
    null = tmp_path / "null.jsonl"
    null.write_text(written.read_text())
    ran = run_cli(*verify(marked, "--suspect", written, "--null", null))
    assert ran.exit_code == 0 and "a model that is known to be unrelated answers the questions too" in ran.stdout
    ran = run_cli(*verify(marked, "--suspect", written, "--level", "1e-4"))
    assert ran.exit_code == 64 and "no p of these numbers is below 0.00033" in ran.stderr
    written.write_text("".join(json.dumps({"query": q, "answer": " "}) + "\n" for q in answers))
    assert "100.0% of the answers are empty" in run_cli(*verify(marked, "--suspect", written)).stdout
    written.write_text(written.read_text().split("\n")[0] + "\n")
    ran = run_cli(*verify(marked, "--suspect", written))
    assert ran.exit_code == 64 and "13 of the 14 queries are not answered" in ran.stderr


def test_another_key_or_a_record_that_was_changed_is_refused(marked: Path, world, tmp_path: Path, run_cli) -> None:
    other = tmp_path / "o.mbkey"
    run_cli("protect", world.base, "--key", other, "-o", tmp_path / "p")
    ran = run_cli("fingerprint", "verify", marked / "r.json", "--key", other, "--suspect", world.base)
    assert ran.exit_code == 2 and "not those that the record commits to" in ran.stderr
    changed = tmp_path / "r.json"
    document = json.loads((marked / "r.json").read_text())
    document["pairs"][0]["answer"] = "w1 w1"
    changed.write_text(json.dumps(document))
    ran = run_cli("fingerprint", "verify", changed, "--key", marked / "k.mbkey", "--suspect", world.base)
    assert ran.exit_code == 2 and "not those that the record commits to" in ran.stderr
    ran = run_cli(*verify(marked, "--suspect", world.base, "--null", world.base))
    assert ran.exit_code == 64 and "twice" in ran.stderr


def test_bad_inputs_of_embed_are_one_line_and_leave_nothing(world, tmp_path: Path, run_cli) -> None:
    own = ("--record", tmp_path / "r.json", "--key", tmp_path / "k.mbkey", "-o", tmp_path / "m")
    embed = ("fingerprint", "embed", world.original, "--base", world.base, "--text", world.text, *own)
    inside = ("--record", world.original / "r.json", *own[2:])
    short = tmp_path / "short.txt"
    short.write_text("w1 w2")
    (tmp_path / "other.json").write_text("{}")
    for words, says in (
        ((*embed[:7], "--record", tmp_path / "k.mbkey", *own[2:]), "record and key are one file"),
        ((*embed[:7], "--record", tmp_path / "no" / "r.json", *own[2:]), "there is no folder"),
        ((*embed[:7], "--record", tmp_path / "m" / "r.json", *own[2:]), "in the output folder"),
        ((*embed[:7], "--record", tmp_path / "other.json", *own[2:]), "method: field required"),
        ((*embed, "--pairs", 2, "--decoys", 4), "2 of 6 questions allow no p below 0.067"),
        ((*embed, "--prompt-tokens", "5000"), "prompt-tokens"),
        ((*embed[:6], short, *own, *FAST), "tokens"),
        ((*embed[:7], *inside), "would be published with the model"),
        ((*embed, "--method", "instructional", "--swaps", 3), "swaps"),
    ):
        ran = run_cli(*words)
        assert ran.exit_code in (2, 64) and says in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
        assert not (tmp_path / "m").exists() and not (tmp_path / "r.json").exists()
