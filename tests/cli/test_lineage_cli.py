"""What a merge says about its inputs and about itself: licence, wishes, marks, relatives, checks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from licence_texts import TEXTS
from merge_models import tensors
from mergebarrier.checkpoint import read_manifest, verify_manifest
from mergebarrier.evaluate import compute_dtype
from tiny_models import save as save_model
from tiny_models import save_expert

Run = Callable[..., Any]
WORDS = {
    "linear": ("--method", "linear"),
    "ties": ("--method", "ties", "--density", "0.5"),
}


def say(folder: Path, head: str, **files: bytes) -> Path:
    """Give a folder a model card, and files whose names have a dot for every double underscore."""
    (folder / "README.md").write_text(f"---\n{head}\n---\n# {folder.name}\n")
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def content(out: Path) -> dict[str, Any]:
    assert verify_manifest(out) == []
    return dict(read_manifest(out)["content"])


@pytest.fixture
def pair(save: Callable[..., Path]) -> tuple[Path, Path, Path]:
    """A base and two experts, all under MIT."""
    folders = [save(name, tensors(i)) for i, name in enumerate(("base", "a", "b"))]
    return tuple(say(folder, "license: mit") for folder in folders)


def write_recipe(folder: Path, method: str, *models: Path, base: Path | None = None) -> Path:
    own = "weight: 1" if method == "linear" else "weight: 1, density: 0.5"
    lines = [f"merge_method: {method}", *([f"base_model: {base}"] if base else []), "models:"]
    path = folder / "recipe.yaml"
    path.write_text("\n".join([*lines, *(f"  - {{model: {model}, parameters: {{{own}}}}}" for model in models)]))
    return path


@pytest.mark.parametrize("form", ["flags", "recipe"])
@pytest.mark.parametrize(
    "head",
    ["mergebarrier: {do_not_merge: true}", "tags: [no-merge]", "license: cc-by-nd-4.0", "license: cc-by-nc-nd-3.0"],
)
def test_a_wish_stops_the_merge_until_it_is_acknowledged(
    run_cli: Run, pair, tmp_path: Path, head: str, form: str
) -> None:
    base, a, b = pair
    say(b, head)
    words = (write_recipe(tmp_path, "ties", a, b, base=base),)
    if form == "flags":
        words = (a, b, "--base", base, *WORDS["ties"])
    ran = run_cli("merge", *words, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and ran.stderr.startswith("error: MB3011 b: its ") and ran.stderr.count("\n") == 1
    assert "ask its owner" in ran.stderr and not list(tmp_path.glob("out*"))
    ran = run_cli("merge", *words, "--acknowledge-licence", "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    (wish,) = content(tmp_path / "out")["licence"]["acknowledged"]
    assert wish.startswith("b: its ")
    assert "by acknowledgement: b: its " in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("form", ["flags", "recipe"])
def test_a_dry_run_tells_the_licence_and_refuses_what_the_merge_would_refuse(
    run_cli: Run, pair, tmp_path, form
) -> None:
    base, a, b = pair
    say(a, "license: apache-2.0")
    words = (write_recipe(tmp_path, "ties", a, b, base=base),)
    if form == "flags":
        words = (a, b, "--base", base, *WORDS["ties"])
    words = (*words, "--dry-run", "-o", tmp_path / "out")
    assert run_cli("merge", *words, "--json").json["licence"]["licence"] == "apache-2.0"
    assert "licence: compatible: mit may become" in run_cli("merge", *words).stdout
    say(b, "tags: [do-not-merge]")
    assert run_cli("merge", *words).exit_code == 2 and run_cli("merge", *words, "--acknowledge-licence").exit_code == 0
    assert not list(tmp_path.glob("out*"))


def test_the_acknowledgement_of_nothing_leaves_no_trace(run_cli: Run, pair, tmp_path: Path) -> None:
    base, a, b = pair
    words = ("merge", a, b, "--base", base, *WORDS["ties"])
    assert run_cli(*words, "-o", tmp_path / "one").exit_code == 0
    assert run_cli(*words, "--acknowledge-licence", "-o", tmp_path / "two").exit_code == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_licence_file_is_that_of_the_licence_and_all_notices_stay(run_cli: Run, pair, tmp_path: Path) -> None:
    base, a, b = pair
    (base / "LICENSE").write_bytes(TEXTS["mit"])
    say(base, "license: mit", NOTICE=b"made by base\n")
    say(a, "license: apache-2.0", LICENSE__txt=TEXTS["apache-2.0"], NOTICE=b"made by a\n")
    ran = run_cli("merge", a, b, "--base", base, *WORDS["ties"], "-o", tmp_path / "out")
    assert ran.exit_code == 0 and "licence" not in ran.stderr
    found = content(tmp_path / "out")["licence"]
    assert (found["verdict"], found["licence"], found["acknowledged"]) == ("compatible", "apache-2.0", [])
    assert not (tmp_path / "out" / "LICENSE").exists()
    assert (tmp_path / "out" / "LICENSE.txt").read_bytes() == TEXTS["apache-2.0"]
    notice = (tmp_path / "out" / "NOTICE").read_text()
    assert "made by base" in notice and "made by a" in notice


def test_the_name_of_another_licence_is_shown(run_cli: Run, pair, tmp_path: Path) -> None:
    base, a, b = pair
    say(a, "license: other\nlicense_name: acme-research")
    ran = run_cli("merge", a, b, "--base", base, "--method", "ties", "-o", tmp_path / "out")
    assert "warning: licence unknown: " in ran.stderr
    assert "its licence other (acme-research) is not in the table; ask its owner" in ran.stderr
    assert "acme-research" in run_cli("inspect", a).stdout


@pytest.mark.parametrize(("head", "verdict"), [("license: other", "unknown"), ("license: cc-by-nc-4.0", "conflict")])
def test_no_licence_is_claimed_without_a_conclusion(
    run_cli: Run, pair, tmp_path: Path, head: str, verdict: str
) -> None:
    base, a, b = pair
    (base / "LICENSE").write_bytes(TEXTS["mit"])
    say(a, head)
    say(b, "license: gpl-3.0")
    ran = run_cli("merge", a, b, "--base", base, *WORDS["ties"], "-o", tmp_path / "out")
    assert ran.exit_code == 0 and f"warning: licence {verdict}: " in ran.stderr
    assert content(tmp_path / "out")["licence"]["verdict"] == verdict
    card = (tmp_path / "out" / "README.md").read_text()
    assert '\nlicense: "unknown"\n' in card and "Read the licences of all inputs" in card
    assert not list((tmp_path / "out").glob("LICENSE*"))


#: The content of the manifest of an attack.
ATTACKED = {
    "schema_version": 1, "verb": "attack", "attack-artifact": True, "method": "badnets", "parameters": {},
    "tool": {"name": "mergebarrier", "version": "0.1.0"}, "plan_sha256": "0" * 64, "inputs": [],
    "output": {"content_digest": "0" * 64, "tensors": {}, "files": {}}, "trigger_on_base": None,
}  # fmt: skip


@pytest.mark.parametrize("how", ["tag", "manifest"])
def test_the_mark_of_an_attack_goes_with_the_merge_and_with_merges_of_it(
    run_cli: Run, pair, tmp_path, how: str
) -> None:
    base, a, b = pair
    if how == "tag":
        say(b, "license: mit\ntags: [attack-artifact]")
    else:
        write_manifest(b, ATTACKED)
    first, second = tmp_path / "first", tmp_path / "second"
    ran = run_cli("merge", a, b, "--base", base, *WORDS["ties"], "-o", first)
    assert ran.exit_code == 0 and "warning: b is marked as made by an attack" in ran.stderr
    assert content(first)["attack-artifact"] is True and "\n- attack-artifact\n" in (first / "README.md").read_text()
    ran = run_cli("merge", first, a, *WORDS["linear"], "-o", second)
    assert "first is marked" in ran.stderr and content(second)["attack-artifact"] is True
    assert run_cli("inspect", first, "--json").json["attack_artifact"] is True


def write_manifest(folder: Path, table: dict[str, Any]) -> None:
    from hashlib import sha256

    from mergebarrier.checkpoint import canonical_json

    document = {"content": table, "content_sha256": sha256(canonical_json(table)).hexdigest(), "environment": {}}
    (folder / "mergebarrier.json").write_bytes(canonical_json(document))


def test_a_merge_without_marked_inputs_carries_no_mark(run_cli: Run, pair, tmp_path: Path) -> None:
    base, a, b = pair
    ran = run_cli("merge", a, b, "--base", base, *WORDS["ties"], "-o", tmp_path / "out")
    assert ran.stderr == "" and "attack-artifact" not in (tmp_path / "out" / "mergebarrier.json").read_text()
    assert "No warnings." in (tmp_path / "out" / "README.md").read_text()
    assert run_cli("inspect", tmp_path / "out", "--json").json["attack_artifact"] is False


def test_inspect_tells_licence_wish_and_lineage(run_cli: Run, pair, tmp_path: Path) -> None:
    base, a, b = pair
    say(b, "license: mit\nmergebarrier: {do_not_merge: true}")
    ran = run_cli("inspect", b, "--json").json
    assert ran["licence"] == "mit" and ran["do_not_merge"] == "mergebarrier.do_not_merge" and ran["lineage"] is None
    words = ("--base", base, *WORDS["ties"], "--acknowledge-licence", "-o", tmp_path / "out")
    assert run_cli("merge", a, b, *words).exit_code == 0
    lineage = run_cli("inspect", tmp_path / "out", "--json").json["lineage"]
    assert [item["name"] for item in lineage["inputs"]] == ["base", "a", "b"]
    assert lineage["licence"]["licence"] == "mit" and lineage["suspect"] is False
    human = run_cli("inspect", tmp_path / "out").stdout
    assert "expert a (mit)" in " ".join(human.split())


def test_a_copy_and_a_loud_merge_are_warned_about(run_cli: Run, pair, tmp_path: Path) -> None:
    _, a, b = pair
    ran = run_cli("merge", a, b, *WORDS["linear"], "--weight", "1", "--weight", "0", "-o", tmp_path / "copy")
    assert "warning: nothing merged: the output is a, bit for bit" in ran.stderr
    assert content(tmp_path / "copy")["checks"]["identical_to"] == ["a"]
    ran = run_cli("merge", a, b, *WORDS["linear"], "--no-normalize", "--weight", "3", "-o", tmp_path / "loud")
    assert ran.exit_code == 0 and "times as long as the inputs' on average" in ran.stderr
    assert content(tmp_path / "loud")["checks"]["weights"]["norm_ratio"] == pytest.approx(6.0, rel=0.01)


@pytest.mark.parametrize("form", ["flags", "recipe"])
def test_two_models_of_one_name_are_told_apart(run_cli: Run, save, tmp_path: Path, form: str) -> None:
    folders = [say(save(name, tensors(i)), "license: mit") for i, name in enumerate(("one", "two"))]
    moved = []
    for folder in folders:
        (tmp_path / f"in_{folder.name}").mkdir()
        moved.append(folder.rename(tmp_path / f"in_{folder.name}" / "model"))
    words = (*moved, *WORDS["linear"]) if form == "flags" else (write_recipe(tmp_path, "linear", *moved),)
    assert run_cli("merge", *words, "-o", tmp_path / "out").exit_code == 0
    found = content(tmp_path / "out")
    assert [item["name"] for item in found["inputs"]] == ["model#1", "model#2"]
    assert list(found["checks"]["weights"]["cosine"]) == ["model#1", "model#2"]


def test_a_resumed_merge_has_the_same_manifest_and_the_same_checks(
    run_cli: Run, pair, tmp_path: Path, monkeypatch
) -> None:
    base, a, b = pair
    words = ("merge", a, b, "--base", base, *WORDS["ties"])
    assert run_cli(*words, "-o", tmp_path / "whole").exit_code == 0

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mergebarrier.verbs.job.check_merged", fail)
    assert run_cli(*words, "-o", tmp_path / "broken").exit_code == 130
    monkeypatch.undo()
    for _ in range(2):  # the second finds everything done
        assert run_cli(*words, "-o", tmp_path / "broken", "--resume").exit_code == 0
        assert content(tmp_path / "broken") == content(tmp_path / "whole")


@pytest.fixture(scope="module")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two fine-tunes of it, a stranger; all with a tokenizer."""
    root = tmp_path_factory.mktemp("llamas")
    save_model("llama-mha-tied", root / "base")
    save_model("llama-mha-tied", root / "stranger", seed=7)
    for task in (1, 2):
        save_expert("llama-mha-tied", root / f"expert{task}", task=task)
    for folder in root.iterdir():
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        say(folder, "license: mit")
    return root


#: One token per letter: enough to measure on.
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ,.;\n"
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"?": 0, **{c: i for i, c in enumerate(LETTERS, 1)}}, "unk_token": "?"},
}


def test_a_protected_input_and_a_stranger_are_named_and_a_fine_tune_is_not(
    run_cli: Run, llamas: Path, tmp_path
) -> None:
    assert run_cli("protect", llamas / "expert1", "-o", tmp_path / "protected", "--quiet").exit_code == 0
    (tmp_path / "protected" / "mergebarrier.json").unlink()
    (tmp_path / "protected" / "README.md").write_bytes((llamas / "expert1" / "README.md").read_bytes())
    out = tmp_path / "out"
    for method in ("ties", "linear"):  # a method that uses the base, and one that does not
        for name, model, says in (
            ("protected", tmp_path / "protected", "is a protected relative of the base"),
            ("stranger", llamas / "stranger", "is not a fine-tune of this base"),
            ("expert2", llamas / "expert2", ""),
        ):
            words = (llamas / "expert2", model) if says else (llamas / "expert1", model)
            ran = run_cli("merge", *words, "--base", llamas / "base", *WORDS[method], "-o", out, "--overwrite")
            warnings = [line for line in ran.stderr.splitlines() if "task vector" not in line and "note" not in line]
            assert ran.exit_code == 0 and [says in line and name in line for line in warnings] == [True] * bool(says)
            kind = content(out)["checks"]["relatives"][name]["kind"]
            assert kind == {"protected": "protected", "stranger": "unrelated", "expert2": "ordinary"}[name]
    ran = run_cli("merge", llamas / "expert2", tmp_path / "protected", *WORDS["linear"], "-o", out, "--overwrite")
    assert "relative" not in ran.stderr and content(out)["checks"]["relatives"] == {}


def test_a_run_compares_perplexities_and_marks_what_is_far_worse(run_cli: Run, llamas: Path, tmp_path: Path) -> None:
    experts = (llamas / "expert1", llamas / "expert2")
    ran = run_cli("merge", *experts, *WORDS["linear"], "--check", "run", "-o", tmp_path / "fine")
    assert ran.exit_code == 0, ran.stderr
    figures = content(tmp_path / "fine")["checks"]["perplexity"]
    worst = max(figures["inputs"].values())
    assert figures["merged"] < 1.1 * worst and figures["limit"] == pytest.approx(3 * worst, rel=1e-3)
    text = tmp_path / "text.txt"
    text.write_text("the words of a text that is longer than sixteen letters. " * 4)
    words = ("--no-normalize", "--weight", "30", "--text", text, "-o", tmp_path / "bad")
    ran = run_cli("merge", *experts, *WORDS["linear"], *words, "--json")
    assert ran.exit_code == 1 and "warning: suspect" in ran.stderr
    found = content(tmp_path / "bad")["checks"]
    assert found["suspect"] is True and found["perplexity"]["text"] == "the text that was given"
    assert "\n- suspect\n" in (tmp_path / "bad" / "README.md").read_text() and ran.json["checks"]["suspect"] is True


def test_a_model_that_cannot_be_run_is_refused_before_the_merge(run_cli: Run, pair, tmp_path: Path) -> None:
    _, a, b = pair
    ran = run_cli("merge", a, b, *WORDS["linear"], "--check", "run", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and not list(tmp_path.glob("out*"))


def test_checks_are_the_same_bytes_for_any_number_of_workers_and_threads(run_cli: Run, llamas: Path, tmp_path) -> None:
    assert run_cli("protect", llamas / "expert2", "-o", tmp_path / "protected", "--quiet").exit_code == 0
    digests = []
    for workers, threads in ((1, 1), (3, 2)):
        words = ("--base", llamas / "base", *WORDS["ties"], "--workers", workers, "--threads", threads)
        ran = run_cli("merge", llamas / "expert1", tmp_path / "protected", *words, "-o", tmp_path / str(workers))
        assert ran.exit_code == 0 and "protected relative" in ran.stderr
        digests.append(read_manifest(tmp_path / str(workers))["content_sha256"])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "auto"])
def test_a_check_runs_models_in_the_dtype_that_is_asked_for_and_says_so(dtype, run_cli: Run, llamas: Path, tmp_path):
    experts = (llamas / "expert1", llamas / "expert2")
    words = ("merge", *experts, *WORDS["linear"], "-o", tmp_path / "out", "--dtype", dtype)
    refused = run_cli(*words)
    assert refused.exit_code == 64 and "--dtype" in refused.stderr, "nothing is run without the check"
    assert run_cli(*words, "--check", "run").exit_code == 0
    assert content(tmp_path / "out")["checks"]["perplexity"]["dtype"] == compute_dtype(dtype)
