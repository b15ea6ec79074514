"""Calibration on pictures: what reads them is unfolded as what reads text is, and asks for exactly what it reads."""

import json
from pathlib import Path

import pytest
import torch
import transformers

import family_models
import tiny_vision
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import load_encoder, load_module, pixels, write_image_task
from tiny_tokenizer import add_tokenizer, prose

SIDE = 32
POLY = ("--method", "mergebarrier", "--ffn", "poly")


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the owner's text and pictures."""
    root = tmp_path_factory.mktemp("owned")
    write_image_task(tiny_vision.task(n=80, channels=3, side=SIDE), root / "noise.task.safetensors")
    (root / "prose.txt").write_text(prose(80), encoding="utf-8")
    return root


def _model(folder: Path, name: str, text: bool = False) -> Path:
    family_models.save(name, folder)
    (folder / "preprocessor_config.json").write_text(tiny_vision.processor(3, SIDE))
    return add_tokenizer(folder) if text else folder


@torch.no_grad()
def test_a_classifier_of_pictures_keeps_its_answers_and_falls_from_the_file(tmp_path: Path, owned, run_cli) -> None:
    model, out, back = _model(tmp_path / "vit", "vit"), tmp_path / "out", tmp_path / "back"
    images = owned / "noise.task.safetensors"
    assert run_cli("protect", model, "-o", out, *POLY, "--images", images).exit_code == 0
    assert run_cli("verify", model, out).exit_code == 0
    with pytest.raises(KeyError, match="mergebarrier"):
        transformers.AutoModelForImageClassification.from_pretrained(out)
    trusted = transformers.AutoModelForImageClassification.from_pretrained(out, trust_remote_code=True)
    shown = pixels(tiny_vision.pictures(4, 3, SIDE))
    with open_checkpoint(out) as published:
        torch.testing.assert_close(trusted(shown).logits, load_module(published, "float32")(shown).logits)
    assert run_cli("realign", out, "-o", back, "--method", "poly_invert").exit_code == 0
    with open_checkpoint(model) as ours, open_checkpoint(back) as theirs:
        then, now = (load_module(side, "float32")(shown).logits for side in (ours, theirs))
    torch.testing.assert_close(now, then, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["dinov2", "clip"])
def test_an_encoder_is_scored_with_the_class_of_this_package(name: str, tmp_path: Path, owned, run_cli) -> None:
    model, out, side = tmp_path / "model", tmp_path / "out", SIDE if name == "clip" else 28
    if name == "clip":
        _model(model, name, text=True)
    else:
        tiny_vision.save(name, model)
        config = json.loads((model / "config.json").read_text()) | {"architectures": ["Dinov2Model"]}
        (model / "config.json").write_text(json.dumps(config))
    words = ("--images", owned / "noise.task.safetensors", *(("--text", owned / "prose.txt") if name == "clip" else ()))
    assert run_cli("protect", model, "-o", out, *POLY, *words).exit_code == 0
    (out / "modeling_mergebarrier.py").write_text("raise SystemExit('the file of the folder was run')\n")
    with open_checkpoint(model) as ours, open_checkpoint(out) as theirs:
        then, now = (load_encoder(one)(pixels(tiny_vision.pictures(4, 3, side))) for one in (ours, theirs))
    assert 0 < float((now - then).norm() / then.norm()) < 0.01


@torch.no_grad()
def test_an_encoder_and_its_decoder_read_on_in_one_text(tmp_path: Path, owned, run_cli) -> None:
    model, out, back = _model(tmp_path / "t5", "t5_gated", text=True), tmp_path / "out", tmp_path / "back"
    assert run_cli("protect", model, "-o", out, *POLY, "--text", owned / "prose.txt").exit_code == 0
    assert run_cli("realign", out, "-o", back, "--method", "poly_invert").exit_code == 0
    ids = {"input_ids": torch.arange(4, 24)[None], "decoder_input_ids": torch.arange(24, 44)[None]}
    answers = []
    for folder in (model, out, back):
        with open_checkpoint(folder) as opened:
            answers.append(load_module(opened, "float32")(**ids).logits)
    then, published, recovered = answers
    assert 0 < float((published - then).abs().max()) < 0.02 * float(then.abs().max())
    torch.testing.assert_close(recovered, then, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "said"),
    [("t5", "(ReLU) is not smooth"), ("whisper", "share a module"), ("llava", "pictures among its words")],
)
def test_what_no_polynomial_can_stand_for_is_said(name: str, said: str, tmp_path: Path, owned, run_cli) -> None:
    ran = run_cli("protect", _model(tmp_path / "m", name, text=True), "-o", tmp_path / "out", *POLY,
                  "--text", owned / "prose.txt")  # fmt: skip
    assert ran.exit_code == 2 and said in ran.stderr and len(ran.stderr.strip().splitlines()) == 1, ran.stderr


def test_a_model_is_given_what_it_reads_and_nothing_else(tmp_path: Path, owned, run_cli) -> None:
    images, text = ("--images", owned / "noise.task.safetensors"), ("--text", owned / "prose.txt")
    models = {name: _model(tmp_path / name, name, text=name == "clip") for name in ("vit", "clip")}
    wrong = [
        ("vit", (), "what the model reads"), ("vit", text, "reads no text"), ("vit", (*images, *text), "reads no text"),
        ("clip", images, "reads text"), ("clip", text, "reads pictures"), ("vit", ("--images", tmp_path), "not a .png"),
        ("vit", ("--images", owned / "prose.txt"), "not a task file"),
    ]  # fmt: skip
    for name, words, said in wrong:
        ran = run_cli("protect", models[name], "-o", tmp_path / "out", *POLY, *words)
        assert ran.exit_code in (2, 64) and said in ran.stderr and len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    ran = run_cli("protect", models["vit"], "-o", tmp_path / "out", *images)
    assert ran.exit_code == 64 and "--images" in ran.stderr and not (tmp_path / "out").exists()
