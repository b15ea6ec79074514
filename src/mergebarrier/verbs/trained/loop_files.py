"""The file of a training that may be interrupted: OUT.training/NAME.safetensors, complete or not there at all.

tensors of the loop + {request, step, strength, ...}      read back only by the same request
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mergebarrier.checkpoint import read_tensor_file, write_tensor_file
from mergebarrier.checkpoint.files import canonical_json
from mergebarrier.errors import PartialOutput
from mergebarrier.training import LoopFile

#: The trainings of one run: the published one, and the same without the protecting term.
TRAININGS: Final = ("protected", "control")
_SUFFIX = ".training"
#: A bar in a name of the loop, as names of a file may be spelled.
_BAR = "--"


class LoopFiles:
    """The files of one request.

    Args:
      out:     the folder that will be written.
      request: all that the training depends on, JSON data.
    Raises: PartialOutput for a place that holds anything that no training left.
    """

    def __init__(self, out: Path, request: Mapping[str, object]) -> None:
        """Keep what is there, until ``remove``."""
        self._folder = out.with_name(out.name + _SUFFIX)
        self._digest = hashlib.sha256(canonical_json(request)).hexdigest()
        self._own()

    def read(self, name: str) -> LoopFile | None:
        """Return where a training stopped; None where it did not begin; PartialOutput for that of another request."""
        path = self._path(name)
        if not path.exists():
            return None
        tensors, about = read_tensor_file(path)
        if about.pop("request", None) != self._digest:
            what = "the training that stands there had other models, data or options"
            raise PartialOutput(what, where=path, remedy="repeat the command as it was, or remove the folder")
        known: Any = about
        return LoopFile(
            tensors={key.replace(_BAR, "|"): value for key, value in tensors.items()},
            step=known["step"],
            strength=known["strength"],
            failures=known["failures"],
            good_step=known["good_step"],
            history=tuple(known["history"]),
            work=(known["work"][0], known["work"][1]),
        )

    def write(self, name: str, file: LoopFile) -> None:
        """Keep where a training is."""
        self._folder.mkdir(parents=True, exist_ok=True)
        about = {key: value for key, value in vars(file).items() if key != "tensors"}
        about |= {"history": [dict(look) for look in file.history], "work": list(file.work), "request": self._digest}
        tensors = {key.replace("|", _BAR): value.cpu() for key, value in file.tensors.items()}
        write_tensor_file(self._path(name), tensors, about, overwrite=True)

    def remove(self) -> None:
        """Remove everything: for a run that begins anew, and once the output is there."""
        for name in self._own():
            (self._folder / name).unlink()
        if self._folder.is_dir():
            self._folder.rmdir()

    def _own(self) -> list[str]:
        """Return the names in the folder, all of them ours; PartialOutput for any other, which would be removed."""
        is_folder = self._folder.is_dir() and not self._folder.is_symlink()
        if not is_folder and os.path.lexists(self._folder):
            raise PartialOutput("this is no folder", where=self._folder, remedy="move it elsewhere")
        names = sorted(os.listdir(self._folder)) if is_folder else []
        ours = [end for name in TRAININGS for end in (f"{name}.safetensors", f".{name}.safetensors.part")]
        foreign = next((name for name in names if name not in ours), None)
        if foreign is not None:
            what = "this file was not written by mergebarrier, so the folder will not be used or removed"
            raise PartialOutput(what, where=self._folder / foreign, remedy="move it elsewhere")
        return names

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"
