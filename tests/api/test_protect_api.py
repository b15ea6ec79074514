"""The front door of protect, unprotect, realign and inspect: reports, keys beside folders, steps that can be copied."""

import shlex
from pathlib import Path

import pytest

import family_models
import mergebarrier as mb
import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.cli import VERBS, main
from mergebarrier.errors import KeyMismatch, MergebarrierError, UsageError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.save("llama-gqa-untied", tmp_path / "model")


def digest(folder: Path) -> str:
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.content_digest()


def test_a_model_goes_there_and_back_over_the_key_beside_it(model: Path, tmp_path: Path) -> None:
    done = mb.protect(model, tmp_path / "out", method=mb.Exact(profile="full", condition=2))
    assert done.to_dict()["parameters"]["condition"] == 2.0 and "not cryptographic" in done.limit
    assert done.key_made and done.key_file == str(tmp_path / "out.mbkey")
    back = mb.unprotect(tmp_path / "out", tmp_path / "back")
    assert back.key_file == done.key_file and not back.bit_identical and 0 < back.roundtrip_bound < 1e-5


def test_a_key_in_memory_is_never_written(model: Path, tmp_path: Path) -> None:
    key = mb.Key(bytes(range(32)))
    done = mb.protect(model, tmp_path / "out", key=key)
    assert done.key_id == key.id and done.key_file is None and not list(tmp_path.glob("*.mbkey"))
    assert mb.unprotect(tmp_path / "out", tmp_path / "back", key=key).bit_identical
    assert digest(tmp_path / "back") == digest(model)


def test_no_key_that_fits_beside_the_folder_is_one_line(model: Path, tmp_path: Path, run_cli) -> None:
    mb.protect(model, tmp_path / "out")
    (tmp_path / "out.mbkey").rename(tmp_path / "elsewhere.mbkey")
    with pytest.raises(KeyMismatch, match=r"none of .*out\.mbkey is that key"):
        mb.unprotect(tmp_path / "out", tmp_path / "back")
    mb.protect(model, tmp_path / "second", key=tmp_path / "out.mbkey")
    ran = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "back")
    assert ran.exit_code == 2 and len(ran.stderr.splitlines()) == 1 and "--key" in ran.stderr
    (tmp_path / "elsewhere.mbkey").rename(tmp_path / "renamed.mbkey")
    (tmp_path / "out").rename(tmp_path / "renamed")
    ran = run_cli("unprotect", tmp_path / "renamed", "-o", tmp_path / "back")
    assert ran.exit_code == 0 and f"key read: {tmp_path / 'renamed.mbkey'}" in ran.stderr


def test_a_run_that_is_refused_leaves_no_key(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("mine")
    with pytest.raises(MergebarrierError):
        mb.protect(model, tmp_path / "out")
    with pytest.raises(UsageError):
        mb.protect(model, tmp_path / "other", key="x.mbkey", method=mb.MergeBarrier())
    assert not list(tmp_path.glob("*.mbkey"))


def test_realign_gives_back_what_protect_moved(model: Path, tmp_path: Path) -> None:
    expert = tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert")
    done = mb.protect(expert, tmp_path / "out", base=model)
    assert done.realigned is not None and done.realigned["undone_pct"] == pytest.approx(100)
    back = mb.realign(tmp_path / "out", tmp_path / "back", base=model)
    assert back.preserves_function and back.content_digest == digest(expert) and back.method == "gaugefix"
    with open_checkpoint(tmp_path / "out") as opened:
        assert mb.realign(opened, tmp_path / "aga", base=model, method=mb.Aga(matched=True)).method == "aga-matched"


def test_inspect_ends_with_commands_that_exist(model: Path, tmp_path: Path, run_cli, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    mb.protect(model, tmp_path / "protected")
    base = tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert")
    merged = run_cli("merge", model, base, "--method", "linear", "-o", tmp_path / "merged")
    assert merged.exit_code == 0, merged.stderr
    seen = set()
    for folder in (model, tmp_path / "protected", tmp_path / "merged"):
        text = run_cli("inspect", folder).stdout
        steps = mb.inspect(folder).next_steps
        assert steps and text.splitlines()[-len(steps) :] == [f"  {step}" for step in steps]
        for program, verb, *words in map(shlex.split, steps):
            assert program == "mergebarrier" and verb in VERBS
            assert str(folder) in words
            # Done, or refused for a folder that it stands for and that is not there: no word of it is wrong usage.
            assert run_cli(verb, *words).exit_code in (0, 2), (verb, words)
            seen.add(verb)
    assert {"unprotect", "protect", "merge", "audit", "evaluate", "scan", "verify"} <= seen
    assert main(["inspect", str(model), "--quiet"]) == 0


def test_inspect_speaks_words(model: Path, tmp_path: Path, run_cli) -> None:
    text = run_cli("inspect", model).stdout
    assert "a model of the llama family, which can be protected" in text
    assert "2 layers of width 48: 6 heads of 12 sharing 2 key/value heads" in text and "licence: unknown" in text
    assert "2 head groups per layer may change places; 2 elements, each of 2^1.0 ways\n" in text
    mamba = family_models.save("mamba", tmp_path / "mamba")
    assert "2 layers of width 48: MLP of 96\n" in run_cli("inspect", mamba).stdout
    assert {one["space"] for one in run_cli("inspect", mamba, "--json").json["freedoms"]} >= {"latents", "neurons"}
    mb.protect(model, tmp_path / "protected")
    assert (
        "written by protect of mergebarrier, method exact, with key"
        in run_cli("inspect", tmp_path / "protected").stdout
    )
