"""MergeBarrier's polynomials: nearly the same function under other names, in a class that nobody has to trust here."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import modeling_code, open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import BadConfig, ConfigMismatch, MethodRefused, MissingTensor
from mergebarrier.evaluate import load_module
from mergebarrier.keys import Key
from mergebarrier.modeling_mergebarrier import PLAN
from mergebarrier.protect import Exact, MergeBarrier
from mergebarrier.realign import PolyInvert
from tiny_tokenizer import add_tokenizer, prose

POLY = MergeBarrier(ffn="poly")
TOKENS = torch.arange(4, 44)[None]


def _model(folder: Path, name: str = "gpt2-tied", **more: object) -> Path:
    """Write a tiny model that reads few tokens at once."""
    tiny_models.save(name, folder, **more)
    return add_tokenizer(folder)


def _llama(folder: Path) -> Path:
    module = tiny_models.build("llama-gqa-untied")
    module.config.max_position_embeddings = 64
    module.save_pretrained(folder)
    return add_tokenizer(folder)


def _protect(model: Path, out: Path, method: MergeBarrier = POLY, text: str = "") -> dict:
    with open_checkpoint(model) as source:
        content, _ = verbs.protect(source, method, None, verbs.OutputOptions(out), text=text or prose(80, 64))
    return content


@torch.no_grad()
def _logits(folder: Path) -> torch.Tensor:
    with open_checkpoint(folder) as model:
        return load_module(model, "float32")(TOKENS).logits


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a Llama and a GPT-2, as they were and in both forms."""
    root = tmp_path_factory.mktemp("polynomials")
    folders = {"llama": _llama(root / "llama"), "gpt2": _model(root / "gpt2")}
    for name in ("llama", "gpt2"):
        for form in ("unfolded", "compact"):
            folders[f"{name}-{form}"] = root / f"{name}-{form}"
            content = _protect(folders[name], root / f"{name}-{form}", MergeBarrier(ffn="poly", ffn_form=form))
            found = content["parameters"]
            assert found["kl_nats"] <= 1e-3 and found["top1_agreement"] >= 0.99 and found["polynomial_share"] > 0.5
    return folders


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_both_forms_compute_the_same_and_nearly_what_the_model_did(name: str, published: dict[str, Path]) -> None:
    stock, unfolded, compact = (_logits(published[one]) for one in (name, f"{name}-unfolded", f"{name}-compact"))
    assert 0 < tiny_models.relative_error(unfolded, stock) < 5e-3
    assert tiny_models.relative_error(compact, unfolded) < 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_stock_loaders_refuse_it_and_the_class_in_the_folder_is_ours(name: str, published: dict[str, Path]) -> None:
    folder = published[f"{name}-unfolded"]
    with pytest.raises(KeyError, match="mergebarrier"):
        transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert (folder / "modeling_mergebarrier.py").read_bytes() == modeling_code()
    listed = json.loads((folder / "mergebarrier.json").read_text())["content"]["output"]["files"]
    assert "modeling_mergebarrier.py" in listed
    trusted = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        torch.testing.assert_close(trusted(TOKENS).logits, _logits(folder))


def test_what_is_written_of_it_is_of_our_class_too_until_it_is_of_the_stock_class(tmp_path: Path, published) -> None:
    folder, key = published["llama-unfolded"], Key(bytes([7]) * 32)
    again, stock = tmp_path / "again", tmp_path / "stock"
    with open_checkpoint(folder) as source:
        assert source.folder_notes == ()
        verbs.protect(source, Exact(), key, verbs.OutputOptions(again))
    assert (again / "modeling_mergebarrier.py").read_bytes() == modeling_code()
    trusted = transformers.AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True)
    with torch.no_grad():
        assert tiny_models.relative_error(trusted(TOKENS).logits, _logits(folder)) < 1e-5
    with open_checkpoint(again) as source:
        verbs.realign(source, None, PolyInvert(), verbs.OutputOptions(stock))
        verbs.unprotect(source, key, verbs.OutputOptions(tmp_path / "back"))
    assert not (stock / "modeling_mergebarrier.py").exists() and "auto_map" not in (stock / "config.json").read_text()
    said = [json.loads((one / "config.json").read_text()) for one in (folder, tmp_path / "back")]
    assert said[0] == said[1]


def test_our_readers_run_no_file_of_the_folder(tmp_path: Path, published: dict[str, Path], run_cli) -> None:
    out = tmp_path / "out"
    _protect(published["gpt2"], out)
    before = _logits(out)
    (out / "modeling_mergebarrier.py").write_text("raise SystemExit('the file of the folder was run')\n")
    assert torch.equal(_logits(out), before)
    scanned = run_cli("scan", out, "--base", published["gpt2"])
    assert "MB7108" in scanned.stdout
    assert "MB7108" not in run_cli("scan", published["gpt2-unfolded"], "--base", published["gpt2"]).stdout


def test_verify_and_inspect_know_the_class(published: dict[str, Path], run_cli) -> None:
    folder = published["llama-unfolded"]
    verified = run_cli("verify", published["llama"], folder, "--json")
    assert verified.exit_code == 0 and json.loads(verified.stdout)["equal"]
    shown = run_cli("inspect", folder)
    assert shown.exit_code == 0 and "poly_invert" in shown.stdout and "unprotect" not in shown.stdout
    assert run_cli("evaluate", folder, "--text", folder / "tokenizer.json").exit_code == 0


def test_a_narrow_tolerance_leaves_neurons_as_they_are(tmp_path: Path, published: dict[str, Path]) -> None:
    found = _protect(published["gpt2"], tmp_path / "out", MergeBarrier(ffn="poly", exact_fraction=0.75))["parameters"]
    assert 0 < found["polynomial_share"] <= 0.25 and "exact_gate_proj" in "".join(
        load_file(tmp_path / "out/model.safetensors")
    )
    for more, said in (({"tolerance": 1e-12}, "no neuron comes within"), ({"exact_fraction": 1.0}, "is to stay")):
        with pytest.raises(MethodRefused, match=said):
            _protect(published["gpt2"], tmp_path / "none", MergeBarrier(ffn="poly", **more))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("text", "said"), [("w1 w2", "2 tokens"), (prose(20, 64), "needs 64 and 8 more")])
def test_a_text_that_is_too_short_is_one_line(text: str, said: str, tmp_path: Path, published, run_cli) -> None:
    (tmp_path / "text.txt").write_text(text)
    words = ("--method", "mergebarrier", "--ffn", "poly", "--text", tmp_path / "text.txt")
    ran = run_cli("protect", published["gpt2"], "-o", tmp_path / "out", *words)
    assert ran.exit_code == 2 and said in ran.stderr and len(ran.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_empty_text_no_text_and_a_text_for_nothing_are_one_line_each(tmp_path: Path, published, run_cli) -> None:
    (tmp_path / "text.txt").write_text(" \n")
    poly = ("--method", "mergebarrier", "--ffn", "poly")
    texts = (tmp_path / "text.txt", tmp_path / "none.txt")
    for words in (poly, *((*poly, "--text", text) for text in texts), ("--text", published["gpt2"] / "config.json")):
        ran = run_cli("protect", published["gpt2"], "-o", tmp_path / "out", *words)
        assert ran.exit_code in (2, 64) and len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    assert not (tmp_path / "out").exists()


def test_values_that_no_polynomial_follows_name_the_layer(tmp_path: Path) -> None:
    model = _model(tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    tensors["transformer.h.1.mlp.c_fc.weight"] *= 1e5
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(MethodRefused, match=r"values up to") as refused:
        _protect(model, tmp_path / "out")
    assert refused.value.where == "transformer.h.1.mlp"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda plan: plan.update(order=10**6), BadConfig),
        (lambda plan: plan.update(form="other"), BadConfig),
        (lambda plan: plan.pop("blocks"), BadConfig),
        (lambda plan: plan["blocks"]["transformer.h.0.mlp"].update(width=2**40), BadConfig),
        (lambda plan: plan["blocks"]["transformer.h.0.mlp"].update(polynomial=3), ConfigMismatch),
        (lambda plan: plan.update(order=9), MissingTensor),
        (lambda plan: plan["blocks"].update({"transformer.h.0": plan["blocks"]["transformer.h.0.mlp"]}), BadConfig),
        (lambda plan: plan["blocks"]["transformer.h.0.mlp"].update(replaces=["c_fc.weight", "none.weight"]), BadConfig),
    ],
)  # fmt: skip
def test_a_plan_from_a_stranger_is_read_strictly(change, error, tmp_path: Path, published: dict[str, Path]) -> None:
    out = tmp_path / "out"
    _protect(published["gpt2"], out)
    config = json.loads((out / "config.json").read_text())
    change(config[PLAN])
    (out / "config.json").write_text(json.dumps(config))
    with open_checkpoint(out) as model, pytest.raises(error) as refused:
        describe(model)
    assert refused.value.where and refused.value.remedy
