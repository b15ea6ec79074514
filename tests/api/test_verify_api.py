"""``verify`` from Python and from the command line: the same report; equal, not equal, refused."""

import json
import shutil
from pathlib import Path

import pytest

import family_models
import mergebarrier as mb
import tiny_models
from mergebarrier.errors import BadText, NotACheckpoint
from mergebarrier.protect import MergeLock, Widen
from mergebarrier.realign import Auto, FoldWidth
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


def test_stress_says_what_use_does_to_both_and_how_much_more_to_one(models, run_cli) -> None:
    report = mb.verify(models["plain"], models["protected"], max_tokens=96, stress=True)
    assert report.equal and report.stress is not None
    rows = {row["stress"]: row for row in report.stress}
    assert {"none", "float16", "GGUF Q4_0", "KV cache GGUF Q8_0", "LoRA, 16 steps"} <= rows.keys()
    assert rows["none"]["kl_nats_original"] == 0 and abs(rows["none"]["kl_nats_more"]) < 1e-9
    assert (
        rows["bfloat16"]["kl_nats_original"] > 0
        and rows["LoRA, 16 steps"]["perplexity_original"] < rows["none"]["perplexity_original"]
    ), "what a fine-tune learns shows"
    for row in report.stress:
        assert row["kl_nats_more"] == row["kl_nats_protected"] - row["kl_nats_original"]
    same = mb.verify(models["plain"], models["plain"], max_tokens=96, stress=True)
    assert same.stress is not None and all(row["perplexity_more"] == 0 for row in same.stress), (
        "no protection, no price"
    )
    shown = run_cli("verify", models["plain"], models["protected"], "--max-tokens", 96, "--stress")
    assert shown.exit_code == 0 and "under stress" in shown.stdout and "int4, groups of 32" in shown.stdout


def test_stress_of_what_it_cannot_measure_is_refused_by_the_reason(models, tmp_path, run_cli) -> None:
    vit = family_models.save("vit", tmp_path / "vit")
    ran = run_cli("verify", vit, vit, "--stress")
    assert ran.exit_code == 2 and "models that continue a text" in ran.stderr
    ran = run_cli("verify", models["plain"], models["protected"], "--stress", "--max-tokens", 31)
    assert ran.exit_code == 2 and "--max-tokens from 32 on" in ran.stderr
    for odd in ("nan", "-1", "inf"):
        ran = run_cli("verify", models["plain"], models["protected"], "--max-kl", odd)
        assert ran.exit_code == 64 and "--max-kl" in ran.stderr


def test_a_widened_model_that_is_protected_again_is_compared_by_what_it_says(models, tmp_path) -> None:
    key = mb.Key(b"8" * 32)
    mb.protect(models["plain"], tmp_path / "wide", method=Widen(), key=key)
    mb.protect(tmp_path / "wide", tmp_path / "both", key=key)
    mb.protect(tmp_path / "both", tmp_path / "three", method=MergeLock(), key=key)
    assert mb.verify(models["plain"], tmp_path / "three", max_tokens=64).equal
    content = json.loads((tmp_path / "three" / "mergebarrier.json").read_text())["content"]
    assert content["protected_before"] == ["widen", "exact"]


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


def test_a_size_that_is_written_out_and_one_that_is_left_to_its_default_are_one(tmp_path) -> None:
    plain, key = add_tokenizer(tiny_models.save("gpt2-tied", tmp_path / "plain")), mb.Key(b"7" * 32)
    base = tiny_models.save_expert("gpt2-tied", tmp_path / "base")
    assert _said(plain)["n_inner"] is None
    mb.protect(plain, tmp_path / "wide", method=Widen(), key=key)
    mb.realign(tmp_path / "wide", tmp_path / "folded", method=FoldWidth())
    assert _said(tmp_path / "folded")["n_inner"] == 4 * 48, "the file alone does not say how it was spelled"
    assert mb.verify(plain, tmp_path / "folded", max_tokens=32).equal
    mb.realign(tmp_path / "wide", tmp_path / "back", base=base, method=Auto())
    mb.unprotect(tmp_path / "wide", tmp_path / "restored", key=key)
    for known in ("back", "restored"):  # the base says it, and the manifest
        assert _said(tmp_path / known) == _said(plain)
    for more, equal in (({"n_inner": None}, True), ({"resid_pdrop": 0.1}, True), ({"layer_norm_epsilon": 0.1}, False)):
        (tmp_path / "folded" / "config.json").write_text(json.dumps(_said(tmp_path / "folded") | more))
        (tmp_path / "folded" / "mergebarrier.json").unlink(missing_ok=True)
        report = mb.verify(plain, tmp_path / "folded", max_tokens=32)
        assert report.equal == equal and report.structure_differences == (() if equal else ("config.json differs",))


def _said(folder: Path) -> dict[str, object]:
    said: dict[str, object] = json.loads((folder / "config.json").read_text())
    return said


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


#: One of every kind of input and output; the others are compared where slow tests run.
_KINDS = (
    *("granite", "cohere", "mamba", "llama-headless", "llama-classifier", "t5", "whisper", "bert", "roberta", "vit"),
    *("dinov2", "clip", "llava", "qwen2_vl"),
)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in _KINDS else pytest.mark.slow) for n in family_models.MODELS]
)
def test_every_family_is_compared_by_what_it_answers(name, tmp_path) -> None:
    plain = family_models.save(name, tmp_path / "plain")
    mb.protect(plain, tmp_path / "protected", key=mb.Key(b"7" * 32))
    report = mb.verify(plain, tmp_path / "protected", max_tokens=48)
    assert report.equal
    errors = [report.max_rel_logit_error, report.max_rel_output_error]
    assert any(error is not None for error in errors) and all(error < 1e-5 for error in errors if error is not None)
    other = mb.verify(plain, family_models.save(name, tmp_path / "other", seed=7), max_tokens=48, max_kl=1e-3)
    assert not other.equal and not other.structure_differences


def test_the_lines_name_the_outputs_and_their_floor(tmp_path, run_cli) -> None:
    plain = family_models.save("vit", tmp_path / "plain")
    mb.protect(plain, tmp_path / "protected", key=mb.Key(b"7" * 32))
    shown = run_cli("verify", plain, tmp_path / "protected", "--dtype", "bfloat16")
    assert shown.exit_code == 0 and shown.stdout.endswith("\nequal\n")
    assert "outputs compared       logits\n" in shown.stdout and "tokens" not in shown.stdout.splitlines()[0]
    assert "relative error: the original, bfloat16 against float32" in shown.stdout
    ran = run_cli("verify", plain, tmp_path / "protected", "--json")
    assert ran.json["outputs"] == ["logits"] and "perplexity_original" not in ran.json


def test_a_configuration_that_the_stock_class_cannot_run_is_refused_in_words(models, tmp_path, run_cli) -> None:
    shutil.copytree(models["plain"], tmp_path / "broken")
    config = json.loads((tmp_path / "broken" / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0, "partial_rotary_factor": 0.5}
    config["partial_rotary_factor"] = None
    (tmp_path / "broken" / "config.json").write_text(json.dumps(config))
    ran = run_cli("verify", tmp_path / "broken", tmp_path / "broken", "--json")
    assert ran.exit_code == 2 and ran.json["error"]["code"].startswith("MB")
