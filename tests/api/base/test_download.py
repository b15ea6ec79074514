"""A model is fetched at one commit, weights and words only, and stays what it was when its branch moves on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from hub_server import HubServer, Repository
from mergebarrier.checkpoint import open_checkpoint

FIRST, SECOND = "1" * 40, "2" * 40
_RESOLVE = """
import sys
from mergebarrier.api.base import resolve
from mergebarrier.errors import MergebarrierError
for name in sys.argv[1:]:
    try:
        print(resolve(name, download=True))
    except MergebarrierError as error:
        print(error)
"""


def _files(value: float) -> dict[str, bytes]:
    """A sharded model, with everything beside it that must not be fetched."""
    shards = {f"part-{i}.safetensors": {f"w{i}": torch.full((3,), value)} for i in (1, 2)}
    index = {"metadata": {}, "weight_map": {f"w{i}": f"part-{i}.safetensors" for i in (1, 2)}}
    return {
        "config.json": json.dumps({"model_type": "llama"}).encode(),
        "README.md": b"# tiny\n",
        "video_preprocessor_config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{name: save(tensors) for name, tensors in shards.items()},
        "consolidated.safetensors": save({"w": torch.zeros(3)}),
        "pytorch_model.bin": b"\x80\x04.",
        "modeling_tiny.py": b"raise SystemExit",
        "onnx/model.safetensors": b"",
        "onnx/config.json": b"{}",
        "modules.json": json.dumps([{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]).encode(),
        "1_Pooling/config.json": b"{}",
        "1_Pooling/pytorch_model.bin": b"\x80\x04.",
        "2_Other/config.json": b"{}",
        "additional_chat_templates/rag.jinja": b"x",
    }


@pytest.fixture
def hub():
    adapter = {"adapter_config.json": b"{}", "adapter_model.safetensors": save({"a": torch.ones(1)}), "x.bin": b""}
    repositories = {
        "org/tiny": Repository({FIRST: _files(1.0), SECOND: _files(2.0)}, {"main": FIRST}),
        "org/lora": Repository({FIRST: adapter}, {"main": FIRST}),
        "org/pickle": Repository({FIRST: {"config.json": b"{}", "pytorch_model.bin": b""}}, {"main": FIRST}),
    }
    with HubServer(repositories) as server:
        yield server


def _resolved(hub: HubServer, cache: Path, *names: str, **more: str) -> str:
    """Resolve names in one process; return a line for each."""
    command = [sys.executable, "-c", _RESOLVE, *names]
    ran = subprocess.run(command, capture_output=True, text=True, env={**hub.environment(cache), **more}, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_model_is_fetched_at_a_commit_without_pickles_and_programs(hub, tmp_path) -> None:
    snapshot = Path(_resolved(hub, tmp_path, "org/tiny"))
    assert snapshot == tmp_path / "models--org--tiny" / "snapshots" / FIRST
    allowed = {
        "config.json",
        "README.md",
        "video_preprocessor_config.json",
        "model.safetensors.index.json",
        "part-1.safetensors",
        "part-2.safetensors",
        "modules.json",
        "1_Pooling/config.json",
        "additional_chat_templates/rag.jinja",
    }
    found = {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if not path.is_dir()}
    assert found == allowed and set(hub.fetched) == {name.rpartition("/")[2] for name in allowed}
    with open_checkpoint(snapshot) as checkpoint:
        assert checkpoint.read("w2").tolist() == [1.0] * 3

    hub.repositories["org/tiny"].branches["main"] = SECOND
    asked = len(hub.asked)
    again = _resolved(hub, tmp_path, "org/tiny", HF_HUB_OFFLINE="1")
    assert again == str(snapshot), "a branch that moved does not move what was fetched"
    assert len(hub.asked) == asked, "what the cache holds needs no connection"
    assert _resolved(hub, tmp_path, f"org/tiny@{SECOND}").endswith(SECOND)


def test_what_was_fetched_in_part_is_completed_at_its_commit(hub, tmp_path) -> None:
    snapshot = Path(_resolved(hub, tmp_path, "org/tiny"))
    (snapshot / "part-2.safetensors").unlink()
    hub.repositories["org/tiny"].branches["main"] = SECOND
    assert _resolved(hub, tmp_path, "org/tiny") == str(snapshot)
    assert (snapshot / "part-2.safetensors").exists()


def test_a_base_and_an_adapter_are_fetched_each(hub, tmp_path) -> None:
    base, _, adapter = _resolved(hub, tmp_path, "org/tiny+org/lora").partition("+")
    assert base.endswith(FIRST) and "models--org--lora" in adapter
    assert sorted(path.name for path in Path(adapter).iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {},
            {
                "org/absent": "MB1019 org/absent: cannot be fetched",
                "org/tiny@v9": "MB1019 org/tiny: cannot be fetched at revision 'v9'",
                "org/pickle": "holds no safetensors weights",
            },
        ),
        ({"HF_HUB_OFFLINE": "1"}, {"org/tiny": "HF_HUB_OFFLINE"}),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"org/tiny": "MB1019 org/tiny: cannot be fetched"}),
    ],
    ids=["absent", "offline", "no server"],
)
def test_what_cannot_be_fetched_is_one_line(more: dict[str, str], says: dict[str, str], hub, tmp_path) -> None:
    said = _resolved(hub, tmp_path, *says, **more).splitlines()
    assert len(said) == len(says)
    for line, words in zip(said, says.values(), strict=True):
        assert words in line
    assert "pytorch_model.bin" not in hub.fetched


def test_a_verb_fetches_what_it_names(hub, tmp_path) -> None:
    command = [sys.executable, "-m", "mergebarrier", "inspect", "org/tiny", "--download", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, env=hub.environment(tmp_path), timeout=120)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["path"] == "org/tiny" and document["tensors"] == 2
    assert (tmp_path / "models--org--tiny" / "refs" / "main").read_text() == FIRST
