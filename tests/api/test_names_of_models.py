"""Every verb takes names of the Hub, resolves them by the one resolver, and says how to get what is not there."""

import json
from pathlib import Path

import pytest

from mergebarrier.cli import VERBS
from peft_adapters import save_adapter
from tiny_models import save, save_expert

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


TINY = "llama-gqa-untied"
#: verb -> words with models of the Hub by name; the second run has their snapshots in place of the names.
BOTH_WAYS = {
    "inspect": "org/expert",
    "protect": "org/expert --base org/base --key KEY -o OUT",
    "unprotect": "org/protected --key KEY -o OUT",
    "verify": "org/base org/expert",
    "merge": "org/base org/expert org/base+org/lora --method linear -o OUT",
    "realign": "org/expert --base org/base -o OUT",
    "scan": "org/expert --base org/base",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    """Return a cache of the Hub as huggingface_hub lays it out: blobs, and links to them in a snapshot."""
    cache = tmp_path_factory.mktemp("hub")
    plain = cache / "plain"
    folders = {"base": save(TINY, plain / "base"), "expert": save_expert(TINY, plain / "expert")}
    folders["lora"] = save_adapter(plain / "lora", TINY, r=2, target_modules=["q_proj"])
    for name, folder in folders.items():
        own, commit = cache / f"models--org--{name}", name.encode().hex().ljust(40, "0")
        (own / "blobs").mkdir(parents=True)
        (own / "snapshots" / commit).mkdir(parents=True)
        (own / "refs").mkdir()
        (own / "refs" / "main").write_text(commit)
        for file in folder.iterdir():
            file.rename(own / "blobs" / file.name)
            (own / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{file.name}")
    return cache


#: Verbs that take a second each.
DEAR = ("protect", "unprotect", "realign")


@pytest.mark.parametrize("verb", [pytest.param(v, marks=pytest.mark.slow if v in DEAR else ()) for v in BOTH_WAYS])
def test_a_name_and_its_snapshot_are_the_same_model_with_the_same_name(
    verb, hub, tmp_path, monkeypatch, run_cli
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    found = []
    for form in ("name", "snapshot"):
        places = {"KEY": tmp_path / "k.mbkey", "OUT": tmp_path / form}
        if verb == "unprotect":
            if form == "name":
                ran = run_cli(
                    "protect", "org/expert", "--base", "org/base", "--key", places["KEY"], "-o", tmp_path / "p"
                )
                assert ran.exit_code == 0, ran.stderr
            words = [str(tmp_path / "p"), *BOTH_WAYS[verb].split()[1:]]
        else:
            words = BOTH_WAYS[verb].split()
        if form == "snapshot":
            for name in ("base", "expert", "lora"):
                (snapshot,) = (hub / f"models--org--{name}" / "snapshots").iterdir()
                words = [word.replace(f"org/{name}", str(snapshot)) for word in words]
        ran = run_cli(verb, *(places.get(word, word) for word in words), "--json")
        assert ran.exit_code == 0, ran.stderr
        assert "Traceback" not in ran.stderr and "0000000" not in ran.stderr, ran.stderr
        manifest = tmp_path / form / "mergebarrier.json"
        content = json.loads(manifest.read_text())["content"] if manifest.exists() else json.loads(ran.stdout)
        found.append(content)
    if verb in ("inspect", "verify", "scan"):
        found = [
            {k: v for k, v in one.items() if k not in ("path", "model", "seconds", "environment")} for one in found
        ]
    assert found[0] == found[1]
