"""What a folder that is written holds apart from the values of its tensors, and the code that it may hold.

config.json says polynomials   ->   modeling_mergebarrier.py of this package; auto_map, where it leads there alone
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from mergebarrier.checkpoint.read import read_json
from mergebarrier.published import MODELING, PLAN

if TYPE_CHECKING:
    from mergebarrier.checkpoint.bytes import OutTensor
    from mergebarrier.checkpoint.read import Checkpoint

_OURS: Final = re.compile(rf"{re.escape(MODELING.removesuffix('.py'))}\.[A-Za-z]\w*")


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


def described_anew(donor: "Checkpoint", output: OutputFolder) -> dict[str, bytes]:
    """Return config.json as an output says it, and the file of our class where it says that the model is of ours.

    A reader drops whatever names code, so a model that stays one of our class has to get its name again.
    """
    said = {key: value for key, value in (donor.config | dict(output.config)).items() if key not in output.unsaid}
    files = {}
    if PLAN in said:
        said = _own_class(donor) | said
        files[MODELING] = modeling_code()
    return {"config.json": json.dumps(said, indent=2).encode() + b"\n", **files}


def _own_class(donor: "Checkpoint") -> dict[str, object]:
    """Return ``auto_map`` of a stored folder where every class in it is one of our file."""
    stored = read_json(donor.as_stored().root, "config.json")
    named = stored.get("auto_map") if isinstance(stored, dict) else None
    ours = isinstance(named, dict) and all(isinstance(one, str) and _OURS.fullmatch(one) for one in named.values())
    return {"auto_map": named} if ours else {}
