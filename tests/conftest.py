"""Fixtures that every room may use; a room's own fixtures live in ``tests/<room>/conftest.py``.

One arithmetic thread, and no network but for tests marked ``real``, whose model comes out of a package.
"""

import gc
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from documents import checked
from mergebarrier import zoo
from mergebarrier.cli import main
from text_server import TextServer, weaves

if TYPE_CHECKING:
    import torch

    from audit_stage import Stage
    from symbol_world import Symbols

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests and their libraries are a heap of millions that never dies: gathered without the collector, then left out of it.
gc.set_threshold(20_000, 20, 20)
gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of real models: one of them at the end would keep one worker busy and the others idle."""
    items.sort(key=lambda item: "/real/" not in item.nodeid)


def pytest_collection_finish() -> None:
    """Let the collector look at what the tests make from here on, and at nothing older."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine, of a test that has no business with one."""
    if request.node.get_closest_marker("real"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            self.close()
            raise AssertionError(f"a test tried to reach the network: {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> "Stage":
    """One tiny world for all audits, with its expert protected in three ways."""
    import audit_stage

    return audit_stage.make(tmp_path_factory.mktemp("world"))


@dataclass(frozen=True)
class Ran:
    """What one call of the command line left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """Parse stdout as exactly one JSON document, and hold it against the schema of its kind."""
        return checked(json.loads(self.stdout))


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Call ``mergebarrier`` in this process: ``run_cli("merge", a, b, "-o", out) -> Ran``."""

    def run(*words: object) -> Ran:
        capsys.readouterr()
        torch = sys.modules.get("torch")
        environment, threads = dict(os.environ), torch.get_num_threads() if torch is not None else 0
        try:
            exit_code = main([str(word) for word in words])
        finally:
            os.environ.clear()
            os.environ.update(environment)
            if torch is not None:
                torch.set_num_threads(threads)
        captured = capsys.readouterr()
        return Ran(exit_code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def weaving() -> Iterator[str]:
    """The address of a service that weaves the words that it is asked for into its answers."""
    with TextServer(weaves) as server:
        yield server.url


@pytest.fixture(scope="session")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> "Symbols":
    """The committed base of the symbol tasks, and six of them as files."""
    import symbol_world

    return symbol_world.make(tmp_path_factory.mktemp("symbols"))


@pytest.fixture(scope="session")
def bench(tmp_path_factory) -> dict[str, Path]:
    """name -> folder of the committed base, the names and two drawn tasks; faces come out of the installed package."""
    before = os.environ.get("MERGEBARRIER_CACHE")
    os.environ["MERGEBARRIER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    try:
        return {name: zoo.path(name) for name in ("glyph-base", "glyph-names", "latin", "symbols")}
    finally:
        if before is None:
            del os.environ["MERGEBARRIER_CACHE"]
        else:
            os.environ["MERGEBARRIER_CACHE"] = before


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return ``save(name, tensors, **config) -> folder``: a model folder, sharded when given several tables."""

    from safetensors.torch import save_file

    def write(name: str, *shards: dict[str, "torch.Tensor"], **config: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        document = {"model_type": "llama", "tie_word_embeddings": True, "vocab_size": 10, **config}
        (folder / "config.json").write_text(json.dumps(document))
        files = {f"model-{i:05d}-of-{len(shards):05d}.safetensors": shard for i, shard in enumerate(shards, 1)}
        if len(shards) == 1:
            files = {"model.safetensors": shards[0]}
        else:
            weight_map = {tensor: file for file, shard in files.items() for tensor in shard}
            index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        for file, shard in files.items():
            save_file(shard, folder / file, metadata={"format": "pt"})
        return folder

    return write
