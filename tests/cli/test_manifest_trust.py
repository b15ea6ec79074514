"""A manifest is data from a stranger until the owner's key vouches for it, and it belongs to the key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_models
from mergebarrier.checkpoint import read_manifest
from mergebarrier.checkpoint.files import build_manifest
from mergebarrier.errors import BadManifest

FULL = ("--profile", "full")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.save("llama-gqa-untied", tmp_path / "model")


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None], *, seal: bool) -> None:
    """Do what anybody can: change the content, take its digest again, and leave the seal or take it away."""
    path = folder / "mergebarrier.json"
    document = json.loads(path.read_text())
    change(document["content"])
    new = json.loads(build_manifest(document["content"], document["environment"]))
    path.write_text(json.dumps(new | ({"seal": document["seal"]} if seal else {})))


def test_a_bound_that_a_stranger_wrote_is_never_promised(model, tmp_path, run_cli) -> None:
    assert run_cli("protect", model, "-o", tmp_path / "out", *FULL).exit_code == 0
    words = ("unprotect", tmp_path / "out", "-o", tmp_path / "back", "--json")
    fine = run_cli(*words, "--overwrite")
    assert fine.exit_code == 0 and fine.json["authenticated"] is True

    rewritten(tmp_path / "out", lambda content: content.update(roundtrip_bound=1e-9), seal=True)
    ran = run_cli(*words, "--overwrite")
    assert ran.exit_code == 2 and "MB1014" in ran.stderr and "--manifest" in ran.stderr
    assert not list(tmp_path.glob("back.*"))

    rewritten(tmp_path / "out", lambda content: None, seal=False)
    ran = run_cli(*words, "--overwrite")
    assert ran.exit_code == 0 and ran.json["authenticated"] is False
    assert ran.json["roundtrip_bound"] == fine.json["roundtrip_bound"] != 1e-9
    assert read_manifest(tmp_path / "back")["content"]["authenticated"] is False
    told = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "told")
    assert "as measured here" in told.stdout


def test_without_a_seal_bits_are_compared_and_the_words_say_with_what(model, tmp_path, run_cli) -> None:
    assert run_cli("protect", model, "-o", tmp_path / "out").exit_code == 0
    rewritten(tmp_path / "out", lambda content: None, seal=False)
    ran = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "back")
    assert ran.exit_code == 0 and "no key vouches for" in ran.stdout
    assert "no key vouches for" in run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "x", "--dry-run").stdout


def test_bits_that_were_never_compared_are_not_promised(model, tmp_path, run_cli) -> None:
    assert run_cli("protect", model, "-o", tmp_path / "out", *FULL).exit_code == 0
    words = ("unprotect", tmp_path / "out", "-o", tmp_path / "back")
    rewritten(tmp_path / "out", lambda content: content["parameters"].update(reversibility="exact"), seal=False)
    ran = run_cli(*words)
    assert ran.exit_code == 2 and "which is tolerant here" in ran.stderr
    rewritten(tmp_path / "out", lambda content: content.update(key_id=None), seal=False)
    ran = run_cli(*words)
    assert ran.exit_code == 2 and "draws from one" in ran.stderr and not list(tmp_path.glob("back*"))
    rewritten(tmp_path / "out", lambda content: content.update(inputs=[]), seal=False)
    assert run_cli(*words).exit_code == 2


def test_a_lost_manifest_is_found_beside_the_key_or_given(model, tmp_path, run_cli) -> None:
    made = run_cli("protect", model, "-o", tmp_path / "out")
    copy = tmp_path / "out.mergebarrier.json"
    assert made.exit_code == 0 and str(copy) in made.stderr
    assert copy.read_bytes() == (tmp_path / "out" / "mergebarrier.json").read_bytes()
    (tmp_path / "out" / "mergebarrier.json").unlink()
    found = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "a", "--json")
    assert found.exit_code == 0 and found.json["authenticated"] is True
    copy.rename(tmp_path / "elsewhere")
    lost = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "b")
    assert lost.exit_code == 2 and "MB4004" in lost.stderr and "--manifest" in lost.stderr
    given = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "b", "--manifest", tmp_path / "elsewhere", "--json")
    assert given.exit_code == 0 and given.json["content_digest"] == found.json["content_digest"]


def test_no_copy_of_a_manifest_is_ever_overwritten(model, tmp_path, run_cli) -> None:
    key = tmp_path / "mine.mbkey"
    assert run_cli("protect", model, "-o", tmp_path / "out", "--key", key).exit_code == 0
    first = (tmp_path / "out.mergebarrier.json").read_bytes()
    again = run_cli("protect", model, "-o", tmp_path / "out", "--key", key, "--overwrite")
    assert again.exit_code == 0 and len(list(tmp_path.glob("*.mergebarrier.json"))) == 1
    other = run_cli("protect", model, "-o", tmp_path / "out", "--key", key, "--overwrite", *FULL)
    assert other.exit_code == 0 and len(list(tmp_path.glob("out-*.mergebarrier.json"))) == 1
    assert (tmp_path / "out.mergebarrier.json").read_bytes() == first


def test_protecting_a_protected_model_is_said(model, tmp_path, run_cli) -> None:
    assert run_cli("protect", model, "-o", tmp_path / "one").exit_code == 0
    twice = run_cli("protect", tmp_path / "one", "-o", tmp_path / "two", "--json")
    assert twice.exit_code == 0 and "protected already" in twice.stderr + twice.stdout


def test_protecting_a_merge_is_said(model, tmp_path, run_cli) -> None:
    assert run_cli("merge", model, model, "--method", "linear", "-o", tmp_path / "merge").exit_code == 0
    ran = run_cli("protect", tmp_path / "merge", "-o", tmp_path / "out", "--json")
    assert ran.exit_code == 0 and "is a merge" in ran.stderr + ran.stdout


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(roundtrip_bound=7.0),
        lambda content: content.update(roundtrip_bound=-1e-9),
        lambda content: content.update(roundtrip_bound="0"),
        lambda content: content.update(key_id="zz"),
        lambda content: content.update(method=["exact"]),
        lambda content: content.update(inputs=[]) or content.update(inputs={}),
        lambda content: content["output"].update(content_digest="ab"),
        lambda content: content["output"]["files"]["config.json"].update(size_bytes=2**63),
        lambda content: content["output"]["tensors"].update(x=1),
        lambda content: content["tool"].update(name="somebody"),
    ],
)
def test_what_is_out_of_type_or_bounds_is_refused_by_every_reader(model, tmp_path, run_cli, change) -> None:
    if not (tmp_path / "out").exists():
        assert run_cli("protect", model, "-o", tmp_path / "out").exit_code == 0
    rewritten(tmp_path / "out", change, seal=False)
    with pytest.raises(BadManifest):
        read_manifest(tmp_path / "out")
    for words in (("unprotect", tmp_path / "out", "-o", tmp_path / "back"), ("inspect", tmp_path / "out")):
        ran = run_cli(*words)
        assert ran.exit_code == 2 and ran.stderr.startswith("error: MB1014 ") and len(ran.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("back*"))


def test_a_manifest_of_the_first_version_is_still_undone(model, tmp_path, run_cli) -> None:
    """Before seals: no seal, no licence and no declaration of the input."""
    assert run_cli("protect", model, "-o", tmp_path / "out").exit_code == 0

    def older(content: dict[str, Any]) -> None:
        for name in ("licence", "declared"):
            del content["inputs"][0][name]

    rewritten(tmp_path / "out", older, seal=False)
    ran = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "back", "--json")
    assert ran.exit_code == 0 and ran.json["bit_identical"] is True and ran.json["authenticated"] is False


def test_side_files_that_were_changed_since_are_named_and_no_promise_covers_them(model, tmp_path, run_cli) -> None:
    out, words = tmp_path / "out", ("unprotect", tmp_path / "out", "-o", tmp_path / "back", "--overwrite")
    assert run_cli("protect", model, "-o", out).exit_code == 0
    same = run_cli(*words)
    assert same.exit_code == 0 and "restored bit for bit" in same.stdout and "not as `protect`" not in same.stderr
    (out / "README.md").write_text("a card of mine")
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "rope_theta": 1.0}))
    told = run_cli(*words)
    assert told.exit_code == 0 and "restored the weights, bit for bit" in told.stdout, told
    assert "not as `protect` wrote them, and copied as they are: config.json;" in told.stderr
    (out / "chat_template.jinja").write_text("{{ messages }}")
    assert run_cli(*words, "--json").json["changed"] == ["config.json", "chat_template.jinja"]
