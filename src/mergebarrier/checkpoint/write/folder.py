"""What a folder that is written holds apart from the values of its tensors, and the code that it may hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergebarrier.checkpoint.bytes import OutTensor


@dataclass(frozen=True, kw_only=True)
class OutputFolder:
    """The fields left out are those of the model that is read.

    Args:
      layout:     names, dtypes, shapes and shards.
      names:      circuit -> its tensors in the output, where those are others than in the model.
      config:     what config.json says otherwise.
      unsaid:     keys that config.json no longer has.
      side_files: name -> bytes, more files that are written.
    """

    layout: "Sequence[OutTensor] | None" = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    unsaid: "Sequence[str]" = ()
    side_files: Mapping[str, bytes] = field(default_factory=dict)


def modeling_code() -> bytes:
    """Return the file of our class as it stands in every folder that is one of its."""
    return files("mergebarrier").joinpath("modeling_mergebarrier.py").read_bytes()
