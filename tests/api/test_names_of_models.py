"""Every verb takes names of the Hub, resolves them by the one resolver, and says how to get what is not there."""

import json
from pathlib import Path

import pytest

import tiny_world
from mergebarrier.api.base.hub import at_hub
from mergebarrier.cli import VERBS
from mergebarrier.lineage.parents import hub_name
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
    "provenance relate": "ABSENT ABSENT",
    "watermark shield": "QUERIES ABSENT --ledger OUT --key KEY",
    "fingerprint embed": "ABSENT --base ABSENT --text TASK --record QUERIES --key KEY -o OUT",
    "extract clone": "ABSENT --task IMAGES --start ABSENT",
    "attack badmerging": "--base ABSENT --task IMAGES --target-class 0 -o OUT",
    "attack measure": "ABSENT --control ABSENT --base ABSENT --trigger ABSENT --task IMAGES --target-class 0 -o OUT",
}
#: Verbs that name no model of the reader's, or none but by a file.
WITHOUT = {"import-gguf", "worker", "report", "zoo", "demo", "doctor", "help", "completion", "schema"}


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """Fill the words of a call; the cache is empty."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps({"prompt": f"w{i}", "answer": "w1"}) + "\n" for i in range(4)))
    (tmp_path / "queries.jsonl").write_text('{"query": "w1"}\n')
    names = {"IMAGES": "a.task.safetensors", "OUT": "out", "QUERIES": "queries.jsonl", "KEY": "k.mbkey"}
    places = {"ABSENT": "org/absent", "TASK": task, **{word: tmp_path / name for word, name in names.items()}}
    return lambda words: [places.get(word, word) for word in words.split()]


def test_every_verb_is_asked() -> None:
    assert {call.split()[0] for call in CALLS} == set(VERBS) - WITHOUT


@pytest.mark.parametrize("verb", CALLS)
def test_an_address_of_the_hub_is_the_name_in_it(verb: str, filled, tmp_path, run_cli) -> None:
    """People paste what the browser shows, and ``hf://`` paths; each verb looks for that model."""
    address = {"merge": "hf.co/org/absent", "protect": "https://huggingface.co/org/absent/tree/main"}
    words = [address.get(verb, "hf://org/absent") if one == "org/absent" else one for one in filled(CALLS[verb])]
    ran = run_cli(*verb.split(), *words)
    assert ran.exit_code == 2 and "org/absent: no such folder, and no snapshot 'main'" in ran.stderr, ran.stderr


@pytest.mark.parametrize("name", ["https://example.com/org/model", "https://huggingface.co/datasets/org/words"])
def test_another_address_is_refused_with_what_to_write(name: str, tmp_path, run_cli) -> None:
    ran = run_cli("protect", name, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "write owner/name, as in https://huggingface.co/owner/name" in ran.stderr
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"merge_method: linear\nmodels: [{{model: '{name}', parameters: {{weight: 1}}}}]\n")
    ran = run_cli("merge", recipe, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "write owner/name" in ran.stderr, ran.stderr


def test_an_address_in_a_recipe_is_the_name_in_it(filled, tmp_path, run_cli) -> None:
    recipe = tmp_path / "r.yaml"
    address = "https://huggingface.co/org/absent/tree/v1"
    recipe.write_text(f"merge_method: linear\nmodels: [{{model: '{address}', parameters: {{weight: 1}}}}]\n")
    ran = run_cli("merge", recipe, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "no snapshot 'v1' in the cache" in ran.stderr, ran.stderr


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


def publish(cache: Path, name: str, folder: Path) -> Path:
    """Move a folder into a cache of the Hub; return its snapshot, which the branch main and the tag v1.0 mean."""
    own, commit = cache / f"models--org--{name}", name.encode().hex().ljust(40, "0")
    snapshot = own / "snapshots" / commit
    for made in (own / "blobs", snapshot, own / "refs" / "pr"):
        made.mkdir(parents=True)
    for reference in ("main", "v1.0", "pr/1"):
        (own / "refs" / reference).write_text(commit)
    for file in folder.iterdir():
        file.rename(own / "blobs" / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    return snapshot


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    """Return a cache of the Hub as huggingface_hub lays it out: blobs, and links to them in a snapshot."""
    cache = tmp_path_factory.mktemp("hub")
    plain = cache / "plain"
    folders = {"base": save(TINY, plain / "base"), "expert": save_expert(TINY, plain / "expert")}
    folders["lora"] = save_adapter(plain / "lora", TINY, r=2, target_modules=["q_proj"])
    for name, folder in folders.items():
        publish(cache, name, folder)
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


#: How a model may be named; {0} is its name, {1} its snapshot, {2} the commit, and lora is an adapter of every base.
FORMS = {
    "name": "org/{0}",
    "tag": "org/{0}@v1.0",
    "branch": "org/{0}@pr/1",
    "commit": "org/{0}@{2}",
    "snapshot": "{1}",
    "with an adapter": "org/{0}+org/lora",
    "both with revisions": "org/{0}@v1.0+org/lora@v1.0",
    "a snapshot with an adapter": "{1}+org/lora@main",
}
#: Verb -> words with a model in every place, as above.
EVERYWHERE = {
    "inspect": "base",
    "watermark shield": "QUERIES a --ledger OUT --key KEY --max-tokens 2",
    "fingerprint embed": "a --base base --text TASK --record OUT --key KEY --dry-run -o OUT",
    "protect": "a --base base --dry-run -o OUT",
    "unprotect": "protected --key KEY --dry-run -o OUT",
    "verify": "base a",
    "merge": "a b --base base --method task_arithmetic --dry-run -o OUT",
    "realign": "a --base base --dry-run -o OUT",
    "evaluate": "a --task TASK",
    "scan": "a b --base base",
    "provenance relate": "a base",
    "audit": "protected --original a --base base --partner b --task TASK --partner-task TASK2"
    " --merges linear --coefficients 0.5 --levels 0 --budget 1 -o OUT",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, run_main) -> tuple[Path, dict[str, str], dict[str, Path]]:
    """Return a cache with a base, two experts, a protected one and an adapter; files; and the folder of each model."""
    place = tmp_path_factory.mktemp("published")
    made = tiny_world.make(place / "plain")
    lora = save_adapter(place / "plain" / "lora", "llama-mha-tied", r=2, target_modules=["q_proj"])
    run_main("protect", made.original, "--base", made.base, "--key", place / "k.mbkey", "-o", place / "protected")
    folders = {
        "base": made.base, "a": made.original, "b": made.partner, "lora": lora, "protected": place / "protected",
    }  # fmt: skip
    files = {"TASK": made.task, "TASK2": made.partner_task, "KEY": place / "k.mbkey"}
    return place, files, {name: publish(place, name, folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def run_main():
    from mergebarrier.cli import main

    def run(*words: object) -> None:
        assert main(list(map(str, words))) == 0

    return run


def test_every_verb_that_names_language_models_is_tried_with_every_form() -> None:
    assert {call.split()[0] for call in EVERYWHERE} == {call.split()[0] for call in CALLS} - {"attack", "extract"}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("verb", EVERYWHERE)
def test_every_form_of_a_name_means_the_same_in_every_verb(
    verb: str, form: str, world, tmp_path, monkeypatch, run_cli
) -> None:
    cache, files, snapshots = world
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"query": "w1"}\n')
    places = {**files, "OUT": tmp_path / "out", "QUERIES": queries}
    places |= {name: FORMS[form].format(name, snapshot, snapshot.name) for name, snapshot in snapshots.items()}
    ran = run_cli(*verb.split(), *(places.get(word, word) for word in EVERYWHERE[verb].split()), "--json")
    assert ran.exit_code in ((0, 1) if verb in ("verify", "scan") else (0,)), ran.stderr
    assert ran.json["kind"] != "error"
    if verb == "audit":
        assert "+" in ran.json["models"]["original"]["name"] or "adapter" not in form


@pytest.mark.parametrize(
    ("address", "revision"),
    [
        ("https://huggingface.co/o/n/commit/abcd", "abcd"),
        ("https://huggingface.co/o/n/raw/main/config.json", "main"),
        ("HTTPS://HuggingFace.co/o/n?library=x", ""),
        ("www.huggingface.co/o/n/", ""),
        ("https:/hf.co/o/n/resolve/refs%2Fpr%2F1/x.safetensors", "refs/pr/1"),
        ("hf://models/o/n@v1", "v1"),
        ("pkg:huggingface/o/n@abcd", "abcd"),
    ],
)
def test_cards_and_arguments_read_addresses_alike(address, revision) -> None:
    assert at_hub(address) == f"o/n@{revision}".rstrip("@")
    assert hub_name(address) == "o/n"
