"""Every verb takes names of the Hub, resolves them by the one resolver, and says how to get what is not there."""

import json

import pytest

from mergebarrier.cli import VERBS

#: verb -> words with a model in every place; ABSENT, TASK, IMAGES and OUT are filled in.
CALLS = {
    "inspect": "ABSENT",
    "protect": "ABSENT -o OUT",
    "unprotect": "ABSENT -o OUT",
    "verify": "ABSENT ABSENT",
    "merge": "ABSENT ABSENT --base ABSENT --method task_arithmetic -o OUT",
    "realign": "ABSENT --base ABSENT -o OUT",
    "evaluate": "ABSENT --task TASK",
    "scan": "ABSENT --base ABSENT",
    "audit": "ABSENT --original ABSENT --base ABSENT --partner ABSENT --task TASK --partner-task TASK -o OUT",
    "attack badmerging": "--base ABSENT --task IMAGES --target-class 0 -o OUT",
    "attack measure": "ABSENT --control ABSENT --base ABSENT --trigger ABSENT --task IMAGES --target-class 0 -o OUT",
}
#: Verbs that name no model of the reader's.
WITHOUT = {"report", "zoo", "demo", "doctor", "help", "completion", "schema"}


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """Fill the words of a call; the cache is empty."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps({"prompt": f"w{i}", "answer": "w1"}) + "\n" for i in range(4)))
    places = {"ABSENT": "org/absent", "TASK": task, "IMAGES": tmp_path / "a.task.safetensors", "OUT": tmp_path / "out"}
    return lambda words: [places.get(word, word) for word in words.split()]


def test_every_verb_is_asked() -> None:
    assert {call.split()[0] for call in CALLS} == set(VERBS) - WITHOUT


@pytest.mark.parametrize("verb", CALLS)
def test_a_name_that_the_cache_lacks_is_refused_with_the_way_to_fetch_it(verb: str, filled, tmp_path, run_cli) -> None:
    ran = run_cli(*verb.split(), *filled(CALLS[verb]))
    assert ran.exit_code == 2 and ran.stdout == ""
    assert "org/absent: no such folder, and no snapshot 'main' in the cache" in ran.stderr, ran.stderr
    assert "--download" in ran.stderr and not (tmp_path / "out").exists()
    assert "--download" in run_cli(*verb.split(), "--help").stdout
