"""Model folders for runs, and a sink that remembers."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from model_folders import small_tensors, thirds, write_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tensors = small_tensors()
    return write_folder(tmp_path / "model", tensors, shards=thirds(tensors))


class Memory:
    """A sink in memory."""

    def __init__(self, done: Sequence[str] = ()) -> None:
        self.finished = list(done)
        self.values: dict[str, dict[int, torch.Tensor]] = {}

    def done(self, unit_name: str) -> bool:
        return unit_name in self.finished

    def put(self, name: str, tensor: torch.Tensor) -> None:
        self.values[name] = {0: tensor}

    def put_rows(self, name: str, start_row: int, tensor: torch.Tensor) -> None:
        self.values.setdefault(name, {})[start_row] = tensor

    def finish(self, unit_name: str, names: Sequence[str]) -> None:
        self.finished.append(unit_name)

    def value(self, name: str) -> torch.Tensor:
        pieces = [tensor for _, tensor in sorted(self.values[name].items())]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


@pytest.fixture
def memory() -> type[Memory]:
    return Memory
