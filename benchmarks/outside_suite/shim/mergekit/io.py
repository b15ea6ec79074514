"""Reading a checkpoint, through our own reader."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from mergebarrier.checkpoint import open_checkpoint
from mergekit import internals
from mergekit.faults import theirs


class LazyTensorLoader:
    """Tensors of a folder, read one by one."""

    def __init__(self, folder: Path) -> None:
        """Open the folder."""
        with theirs():
            self._model = open_checkpoint(folder)
        self.index = SimpleNamespace(tensor_paths={name: info.shard for name, info in self._model.tensors.items()})

    @classmethod
    def from_disk(cls, path: Any, **_: Any) -> "LazyTensorLoader":
        """Open a folder."""
        return cls(Path(path))

    def get_tensor(self, name: str, **_: Any) -> torch.Tensor:
        """Read a tensor."""
        return self._model.read(name)


__getattr__ = internals.attribute_of("mergekit.io")
