"""Where a verb writes, what it is asked, and the words about inputs and surroundings that every manifest holds."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergebarrier.checkpoint import Checkpoint

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class OutputOptions:
    """Where and how a folder is written.

    Args:
      out:           the folder.
      resume:        go on with an unfinished run.
      overwrite:     replace what stands there.
      workers:       circuits at once; never changes a byte.
      max_ram_bytes: memory budget, None for the default.
      progress:      called with (bytes done, bytes in all).
    """

    out: Path
    resume: bool = False
    overwrite: bool = False
    workers: int = 1
    max_ram_bytes: int | None = None
    progress: Progress | None = None


@dataclass(frozen=True)
class MergeInput:
    """A model that goes into a merge, and how manifest and card call it.

    Args:
      role:       "base", "expert", "adapter" or "donor".
      name:       without a path, unique among the inputs.
      checkpoint: opened.
      facts:      more that the manifest holds of it.
    """

    role: str
    name: str
    checkpoint: Checkpoint
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checks:
    """What a merge is asked beyond its weights.

    Args:
      acknowledge_licence: merge although a licence or an owner forbids it; recorded.
      run:                 measure perplexity, on the built-in text unless there is another.
      text:                measure perplexity on this text.
      dtype:               to run models in; "auto" is what this machine computes in fastest.
    """

    acknowledge_licence: bool = False
    run: bool = False
    text: str | None = None
    dtype: str = "auto"

    @property
    def runs(self) -> bool:
        """Say whether models are run."""
        return self.run or self.text is not None


def content_of(verb: str, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a manifest that says what was done."""
    return {"verb": verb, "method": method, "parameters": dict(parameters)}


def input_of(role: str, source: Checkpoint) -> dict[str, Any]:
    """Return the part of a manifest that says what one input was."""
    return {"role": role, **hashed(source)}


def hashed(source: Checkpoint) -> dict[str, Any]:
    """Return the digests of a model's content.

    Digests of its files would say no more about the weights, and cost a second hash of every byte.
    """
    return {"content_digest": source.content_digest(), "tensors": source.digests()}


def environment() -> dict[str, Any]:
    """Return versions and platform, the part of a manifest that no digest covers."""
    import numpy
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
    }
