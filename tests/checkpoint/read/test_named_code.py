"""Folders that name code: read with the stock class and written without the key, or refused with the way out.

The code that lies in the folder writes a file when it is run or imported, and no verb makes that file appear.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import family_models
import peft_adapters
import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import RemoteCodeRefused
from model_folders import CONFIG, small_tensors, write_folder
from tiny_tokenizer import add_tokenizer

_MAP = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.XForCausalLM"}
_CODE = 'import pathlib\npathlib.Path(r"{}").touch()\n'


def named(folder: Path, *tables: str) -> Path:
    """Give a folder code, and name it in config.json, in some of its tables, and in three other configurations."""
    document = json.loads((folder / "config.json").read_text())
    for table in (document, *(document[name] for name in tables)):
        table["auto_map"] = _MAP
    document["custom_pipelines"] = {"x": {"impl": "pipeline_x.X"}}
    (folder / "config.json").write_text(json.dumps(document))
    add_tokenizer(folder)
    for name, kind in (("tokenizer_config", "AutoTokenizer"), ("preprocessor_config", "AutoImageProcessor")):
        table = {"auto_map": {kind: ["code_x.X", None]}, "other": [{"auto_map": 1, "kept": "é"}]}
        (folder / f"{name}.json").write_text(json.dumps(table))
    for name in ("modeling_x", "configuration_x", "pipeline_x", "code_x"):
        (folder / f"{name}.py").write_text(_CODE.format(folder.parent / "it-ran"))
    return folder


def texts(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*.json") if path.name != "mergebarrier.json")


def check_output(done, folder: Path) -> None:
    """The output has neither code nor a key that names it, and was said to have none."""
    assert done.exit_code == 0, done.stderr
    assert "auto_map" not in texts(folder) and not list(folder.rglob("*.py"))
    assert "auto_map, custom_pipelines of config.json" in done.stderr and "modeling_x.py" in done.stderr
    assert not list(folder.parent.rglob("it-ran"))


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("phi3", ()),
        ("llava", ("text_config",)),
        *(pytest.param(name, (), marks=pytest.mark.slow) for name in ("deepseek", "falcon_40b", "bert", "dinov2")),
        pytest.param("qwen2_vl", ("text_config", "vision_config"), marks=pytest.mark.slow),
    ],
)
def test_every_verb_reads_it_with_the_stock_class_and_writes_it_without_the_key(name, tables, tmp_path, run_cli):
    plain = family_models.save(name, tmp_path / "plain")
    model, tuned = (named(family_models.save(name, tmp_path / word), *tables) for word in ("model", "tuned"))
    family_models.nudge(tuned)
    out = tmp_path / "out"
    check_output(run_cli("protect", model, "-o", out), out)
    assert family_models.relative_error(family_models.outputs(name, out), family_models.outputs(name, plain)) < 5e-6
    verified = run_cli("verify", plain, out, "--json")
    assert verified.exit_code == 0 and verified.json["equal"], verified.stderr
    assert run_cli("verify", model, out).exit_code == 0
    back = run_cli("unprotect", out, "-o", tmp_path / "back")
    assert (
        back.exit_code == 0
        and (tmp_path / "back/model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    )
    realigned = tmp_path / "realigned"
    check_output(run_cli("realign", tuned, "--base", model, "-o", realigned), realigned)
    merged = tmp_path / "merged"
    check_output(run_cli("merge", tuned, model, "--method", "linear", "-o", merged), merged)


def test_what_stands_beside_the_key_is_kept_and_other_files_byte_for_byte(tmp_path) -> None:
    folder = named(tiny_models.save("llama-mha-tied", tmp_path / "model"))
    with open_checkpoint(folder) as model:
        assert json.loads(model.read_side_file("tokenizer_config.json")) == {"other": [{"kept": "é"}]}
        assert model.read_side_file("tokenizer.json") == (folder / "tokenizer.json").read_bytes()
        written, config = model.read_side_file("config.json"), json.loads((folder / "config.json").read_text())
        del config["auto_map"], config["custom_pipelines"]
        assert json.loads(written) == model.config == config


def test_adapters_on_such_a_base_are_merged_and_scanned(tmp_path, run_cli) -> None:
    base = named(tiny_models.save("llama-mha-tied", tmp_path / "base"))
    plain = tiny_models.save("llama-mha-tied", tmp_path / "plain")
    settings = {"r": 2, "target_modules": ["q_proj", "down_proj"]}
    one, two = (peft_adapters.save_adapter(tmp_path / f"a{n}", "llama-mha-tied", n, **settings) for n in (1, 2))
    (one / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["code_x.X", None]}}))
    add_tokenizer(one)
    out = tmp_path / "out"
    check_output(run_cli("merge", one, two, "--base", base, "--method", "ties", "--density", "0.5", "-o", out), out)
    check_output(run_cli("protect", f"{base}+{one}", "-o", tmp_path / "p"), tmp_path / "p")
    same = tmp_path / "same"
    run_cli("merge", one, two, "--base", plain, "--method", "ties", "--density", "0.5", "-o", same)
    assert (same / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    scanned = run_cli("scan", base, one, two, "--base", plain, "--json")
    assert scanned.exit_code == 0
    found = [(one["rule"], one["model"], one["severity"]) for one in scanned.json["findings"]]
    assert {("MB7106", "base#1", "medium"), ("MB7106", "a1", "medium")} <= set(found), found


REFUSED: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "a class of nobody": ({"architectures": ["XForCausalLM"]}, "XForCausalLM", "LlamaForCausalLM"),
    "an unknown kind": ({"model_type": "x"}, "LlamaForCausalLM", "convert the model"),
    "no class": ({"architectures": None}, "no class is named", "name it under architectures"),
    "another spelling": (
        {"model_type": "mpt", "architectures": ["MPTForCausalLM"]},
        "MPTForCausalLM",
        "architectures (MptForCausalLM)",
    ),
    "a part of nobody's": (
        {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"],
         "text_config": {"model_type": "internlm2", "auto_map": _MAP}},
        "internlm2", "convert the model",
    ),
    "a kernel beside it": ({"attn_implementation": "somebody/kernel"}, "attn_implementation", "remove the key"),
    "asked to trust": ({"trust_remote_code": True}, "trust_remote_code", "remove the key"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_without_a_stock_class_it_is_refused_with_the_way_out_and_still_inspected(name, tmp_path, run_cli) -> None:
    said, what, remedy = REFUSED[name]
    folder = write_folder(tmp_path / "model", small_tensors(), config=CONFIG | {"auto_map": _MAP} | said)
    with pytest.raises(RemoteCodeRefused, match=what) as caught:
        open_checkpoint(folder)
    assert remedy in str(caught.value)
    refused = run_cli("merge", folder, folder, "--method", "linear", "-o", tmp_path / "out")
    assert refused.exit_code == 2 and "MB1015" in refused.stderr and not (tmp_path / "out").exists()
    shown = run_cli("inspect", folder)
    assert shown.exit_code == 0 and "only shows" in shown.stdout and "auto_map" in shown.stdout
    report = run_cli("inspect", folder, "--json").json
    assert report["tensors"] == len(small_tensors()) and "config.json: auto_map" in report["code"]
    scanned = run_cli("scan", folder, "--json")
    assert scanned.exit_code == 1
    assert {(one["rule"], one["severity"]) for one in scanned.json["findings"]} == {("MB7101", "critical")}


def test_a_tokenizer_of_code_alone_is_refused(tmp_path) -> None:
    folder = named(tiny_models.save("llama-mha-tied", tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(RemoteCodeRefused, match=r"tokenizer_config\.json") as caught:
        open_checkpoint(folder)
    assert "save the tokenizer once" in str(caught.value)


def test_inspect_shows_a_model_that_is_read_without_its_code(tmp_path, run_cli) -> None:
    folder = named(tiny_models.save("llama-mha-tied", tmp_path / "model", dtype=torch.bfloat16))
    shown = run_cli("inspect", folder)
    assert "llama family, which can be protected" in shown.stdout and "never run here" in shown.stdout
    assert run_cli("inspect", folder, "--json").json["family"] == "llama"
