"""Open the folders that a command names, each once: models, adapters, and a base with an adapter as one model.

path | base+adapter  ->  Checkpoint | Expert        two names of one folder give one and the same object
"""

from contextlib import ExitStack
from pathlib import Path

from mergebarrier.checkpoint import (
    AdaptedCheckpoint,
    Adapter,
    Checkpoint,
    is_adapter,
    open_adapter,
    open_checkpoint,
    split_reference,
)
from mergebarrier.errors import UsageError


class Models:
    """Opened folders, closed with the stack.

    Args:
      stack: closes them.
    """

    def __init__(self, stack: ExitStack) -> None:
        """Start with nothing open."""
        self._stack = stack
        self._models: dict[Path, Checkpoint] = {}
        self._adapters: dict[Path, Adapter] = {}
        self._experts: dict[tuple[Path, Path], AdaptedCheckpoint] = {}

    def model(self, path: Path | Checkpoint) -> Checkpoint:
        """Open a model folder, or ``BASE+ADAPTER``; errors as ``open_reference``.  What is open already stays so."""
        if isinstance(path, Checkpoint):
            return path
        if not path.is_dir():
            path, adapter = split_reference(path)
            if adapter is not None:
                return self.expert(path, adapter)
        real = path.resolve()
        if real not in self._models:
            self._models[real] = self._stack.enter_context(open_checkpoint(path))
        return self._models[real]

    def model_on(self, path: Path | Checkpoint, base: Path | Checkpoint | None) -> Checkpoint:
        """Open a model as ``model`` does, or an adapter folder as a model, on ``base``; UsageError without one."""
        if isinstance(path, Checkpoint) or not is_adapter(path):
            return self.model(path)
        if base is None:
            raise UsageError("this is an adapter, and no base was given", where=path, remedy="give --base")
        return self.expert(base, path)

    def adapter(self, path: Path) -> Adapter:
        """Open an adapter folder; errors as ``open_adapter``."""
        real = path.resolve()
        if real not in self._adapters:
            self._adapters[real] = self._stack.enter_context(open_adapter(path))
        return self._adapters[real]

    def expert(self, base: Path | Checkpoint, adapter: Path) -> AdaptedCheckpoint:
        """Return a base with an adapter on it; BadAdapter where they do not fit."""
        opened = self.model(base)
        key = opened.path.resolve(), adapter.resolve()
        if key not in self._experts:
            self._experts[key] = AdaptedCheckpoint(opened, self.adapter(adapter))
        return self._experts[key]
