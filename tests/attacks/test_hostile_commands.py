"""The same hostile folders through the real commands: exit 2, one line that says why, and not a byte written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hostile import CASES, Case
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import RemoteCodeRefused
from model_folders import payload, safetensors_bytes
from tiny_models import save

Run = Callable[..., Any]
# Bad values need a model of a real family around them; they have a test of their own below.
VALUES = ("t08", "t09_3")
FOLDERS = [attack for attack in CASES if not attack.name.startswith(VALUES)]
ALL = pytest.mark.parametrize("attack", FOLDERS, ids=lambda attack: attack.name)


def tree(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*"))


def refused(ran: Any, *words: str) -> None:
    assert ran.exit_code == 2, ran.stderr
    assert ran.stdout == ""
    *notes, line = [line for line in ran.stderr.splitlines() if line.strip()]
    assert line.startswith("error: ") and line.isprintable()
    assert not any(note.startswith("error") for note in notes)
    for word in words:
        assert word in line


@ALL
def test_protect_refuses(attack: Case, tmp_path: Path, run_cli: Run) -> None:
    attack.build(tmp_path / "model")
    before = tree(tmp_path)
    refused(run_cli("protect", tmp_path / "model", "-o", tmp_path / "out"), attack.error.code, *attack.says)
    assert tree(tmp_path) == before


@ALL
def test_inspect_refuses_or_shows_what_names_code(attack: Case, tmp_path: Path, run_cli: Run) -> None:
    attack.build(tmp_path / "model")
    before = tree(tmp_path)
    ran = run_cli("inspect", tmp_path / "model")
    if attack.error is RemoteCodeRefused:
        assert ran.exit_code == 0 and "only shows" in ran.stdout, ran.stderr
        assert all(word in ran.stdout for word in (attack.error.code, *attack.says))
    else:
        refused(ran, attack.error.code, *attack.says)
    assert tree(tmp_path) == before


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Llama, another of other sizes, and a GPT-2."""
    root = tmp_path_factory.mktemp("models")
    save("llama-gqa-untied", root / "llama")
    save("llama-mha-tied", root / "other")
    save("gpt2-tied", root / "gpt2")
    save("llama-gqa-untied", root / "second", seed=2)
    return root


def variant(models: Path, out: Path, change: Callable[[dict[str, torch.Tensor]], None], **config: Any) -> Path:
    """The Llama with changed tensors or config."""
    tensors = load_file(models / "llama" / "model.safetensors")
    change(tensors)
    out.mkdir()
    (out / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    document = json.loads((models / "llama" / "config.json").read_text()) | config
    (out / "config.json").write_text(json.dumps(document))
    return out


def nothing(tensors: dict[str, torch.Tensor]) -> None:
    pass


def wrong_shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.ones(72, 47)


def missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["model.layers.1.mlp.up_proj.weight"]


def extra(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.1.mlp.gizmo.weight"] = torch.ones(2)


@pytest.mark.parametrize(
    ("change", "config", "words"),
    [
        pytest.param(wrong_shape, {}, ("up_proj", "47", "48"), id="t07_2_tensor_of_the_wrong_shape"),
        pytest.param(missing, {}, ("layers.1.mlp.up_proj",), id="t07_2_tensor_missing"),
        pytest.param(extra, {}, ("gizmo",), id="t07_2_tensor_of_no_family"),
        pytest.param(nothing, {"num_hidden_layers": 3}, ("layers.2",), id="t07_2_config_with_a_layer_too_many"),
        pytest.param(nothing, {"num_hidden_layers": 10**9}, ("num_hidden_layers",), id="t14_a_billion_layers"),
        pytest.param(nothing, {"num_attention_heads": 5}, ("config.json",), id="t07_2_heads_that_do_not_divide"),
        pytest.param(nothing, {"num_attention_heads": "6"}, ("num_attention_heads",), id="t07_2_heads_as_text"),
        pytest.param(nothing, {"model_type": "evil"}, ("evil",), id="t07_2_family_unknown"),
    ],
)
def test_protect_refuses_what_is_no_model_of_its_family(
    models: Path, tmp_path: Path, run_cli: Run, change: Any, config: dict[str, Any], words: tuple[str, ...]
) -> None:
    source = variant(models, tmp_path / "model", change, **config)
    before = tree(tmp_path)
    refused(run_cli("protect", source, "-o", tmp_path / "out"), *words)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("verb", ["protect", "realign", "merge"])
@pytest.mark.parametrize(
    ("base", "words"),
    [
        pytest.param("absent", ("absent",), id="missing_base"),
        pytest.param("gpt2", (), id="base_of_another_family"),
        pytest.param("other", (), id="base_of_another_shape"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(
    models: Path, tmp_path: Path, run_cli: Run, verb: str, base: str, words: tuple[str, ...]
) -> None:
    command = {
        "protect": ["protect", models / "llama", "--base", models / base],
        "realign": ["realign", models / "llama", "--base", models / base],
        "merge": ["merge", models / "llama", models / "llama", "--base", models / base, "--method", "ties"],
    }[verb]
    before = tree(tmp_path)
    refused(run_cli(*command, "-o", tmp_path / "out"), *words)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("verb", ["protect", "merge"])
def test_t08_a_bad_value_is_found_before_anything_is_written(
    models: Path, tmp_path: Path, run_cli: Run, verb: str, value: float
) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"][71, 47] = value

    source = variant(models, tmp_path / "model", spoil)
    command = {
        "protect": ["protect", source],
        "merge": ["merge", models / "llama", source, "--method", "linear"],
    }[verb]
    before = tree(tmp_path)
    refused(run_cli(*command, "-o", tmp_path / "out"), "MB1008", "model.safetensors", "layers.1.mlp.up_proj.weight")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e38])
@pytest.mark.parametrize(
    "command",
    [
        ("merge", "odd", "llama", "--base", "base", "--method", "ties"),
        ("realign", "odd", "--base", "base"),
        ("realign", "odd", "--base", "base", "--method", "aga"),
        ("protect", "odd", "--base", "base", "--method", "params"),
        ("scan", "odd", "--base", "base"),
    ],
    ids=lambda words: "-".join(word for word in words[::5]),
)
def test_t08_weights_of_any_size_get_an_answer(
    models: Path, tmp_path: Path, run_cli: Run, command: tuple[str, ...], size: float
) -> None:
    def blow(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor / tensor.abs().max() * size if size > 1 else torch.full_like(tensor, size)

    places = {"odd": variant(models, tmp_path / "odd", blow), "base": models / "second", "llama": models / "llama"}
    out = () if command[0] == "scan" else ("-o", tmp_path / "out")
    ran = run_cli(*(places.get(word, word) for word in command), *out)
    assert ran.exit_code in (0, 1, 2), ran.stderr
    assert not (tmp_path / "out").exists() or ran.exit_code == 0


def test_a_full_output_folder_is_left_alone_and_no_key_stays_behind(models: Path, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    before = tree(tmp_path)
    refused(run_cli("protect", models / "llama", "-o", tmp_path / "out"), "MB1011")
    assert tree(tmp_path) == before


def test_a_sound_model_is_not_refused(models: Path, tmp_path: Path, run_cli: Run) -> None:
    ran = run_cli("protect", models / "llama", "-o", tmp_path / "out", "--quiet")
    assert ran.exit_code == 0, ran.stderr
    with open_checkpoint(models / "llama") as before, open_checkpoint(tmp_path / "out") as after:
        assert list(before.tensors) == list(after.tensors)
        assert payload(before.read("lm_head.weight")) != payload(after.read("lm_head.weight"))


@pytest.mark.parametrize("words", [("merge", "--max-ram"), ("merge", "--max-shard-size"), ("audit", "--levels")])
def test_a_number_of_five_thousand_digits_is_wrong_usage(models: Path, tmp_path: Path, run_cli: Run, words) -> None:
    verb, option = words
    model, number = models / "llama", "9" * 5000
    more = {
        "merge": [model, "--base", model, "--method", "linear"],
        "audit": [*("--original", model, "--base", model, "--partner", model, "--task", "a", "--partner-task", "b")],
    }[verb]
    value = f"0-{number}" if option == "--levels" else number
    assert run_cli(verb, model, *more, option, value, "-o", tmp_path / "out").exit_code == 64
