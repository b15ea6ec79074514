"""``verify`` from Python and from the command line: the same report; equal, not equal, refused."""

import json
from pathlib import Path

import pytest

import mergebarrier as mb
import tiny_models
from mergebarrier.errors import BadText, NotACheckpoint
from tiny_tokenizer import add_tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """A model, the same protected, and another of its family."""
    parent = tmp_path_factory.mktemp("verify")
    plain = add_tokenizer(tiny_models.save("llama-gqa-untied", parent / "plain"))
    mb.protect(plain, parent / "protected", key=mb.Key(b"7" * 32))
    other = add_tokenizer(tiny_models.save("llama-gqa-untied", parent / "other", seed=1))
    return {"plain": plain, "protected": parent / "protected", "other": other}


def test_a_protected_model_is_equal_and_the_figures_say_how_much(models, run_cli) -> None:
    steps = []
    report = mb.verify(models["plain"], models["protected"], max_tokens=64, progress=lambda *step: steps.append(step))
    assert report.equal and report.kl_nats is not None and report.kl_nats < 1e-9 and report.tokens == 64
    assert report.manifest_problems == report.structure_differences == () and steps == [(1, 3), (2, 3), (3, 3)]
    ran = run_cli("verify", models["plain"], models["protected"], "--max-tokens", 64, "--json")
    assert ran.exit_code == 0 and ran.json == report.to_dict() and ran.stderr == ""
    shown = run_cli("verify", models["plain"], models["protected"], "--max-tokens", 64)
    assert shown.stdout.endswith("\nequal\n") and "perplexity" in shown.stdout


def test_another_model_is_not_equal(models, run_cli) -> None:
    report = mb.verify(models["plain"], models["other"], max_tokens=64)
    assert not report.equal and report.kl_nats is not None and report.kl_nats > 0.01
    ran = run_cli("verify", models["plain"], models["other"], "--max-tokens", 64, "--json")
    assert ran.exit_code == 1 and ran.json == report.to_dict()
    allowed = mb.verify(models["plain"], models["other"], max_tokens=64, max_kl=2 * report.kl_nats)
    assert allowed.equal


def test_a_changed_structure_and_a_changed_file_are_named_and_nothing_is_run(models, tmp_path, run_cli) -> None:
    gpt2 = add_tokenizer(tiny_models.save("gpt2-tied", tmp_path / "gpt2"))
    report = mb.verify(models["plain"], gpt2)
    assert not report.equal and report.kl_nats is None and "kl_nats" not in report.to_dict()
    assert "config.json differs" in report.structure_differences
    ran = run_cli("verify", models["plain"], gpt2)
    assert ran.exit_code == 1 and "only in the original: " in ran.stdout and ran.stdout.endswith("NOT equal\n")

    mb.protect(models["plain"], tmp_path / "changed", key=mb.Key(b"7" * 32))
    (tmp_path / "changed" / "config.json").write_text(
        json.dumps(json.loads((models["plain"] / "config.json").read_text()), indent=1)
    )
    changed = mb.verify(models["plain"], tmp_path / "changed", max_tokens=64)
    assert not changed.equal and changed.manifest_problems and changed.kl_nats is not None and changed.kl_nats < 1e-9


def test_in_bfloat16_the_floor_stands_beside_the_figures(models) -> None:
    report = mb.verify(models["plain"], models["protected"], dtype="bfloat16", max_tokens=64)
    assert report.dtype == "bfloat16" and report.floor_kl_nats is not None and report.floor_kl_nats > 0


def test_what_cannot_be_compared_is_refused(models, tmp_path, run_cli) -> None:
    with pytest.raises(NotACheckpoint):
        mb.verify(models["plain"], tmp_path / "nothing")
    with pytest.raises(BadText):
        mb.verify(models["plain"], models["protected"], text=tmp_path / "nothing.txt")
    ran = run_cli("verify", models["plain"], tmp_path / "nothing", "--json")
    assert ran.exit_code == 2 and ran.json["error"]["code"] == "MB1001"
