"""The file of a training that may be interrupted: OUT.training/NAME.safetensors, complete or not there at all.

tensors of the loop + {request, step, strength, ...}      read back only by the same request
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergebarrier.checkpoint import read_tensor_file, write_tensor_file
from mergebarrier.checkpoint.files import canonical_json
from mergebarrier.errors import PartialOutput
from mergebarrier.training import LoopFile

_SUFFIX = ".training"
#: A bar in a name of the loop, as names of a file may be spelled.
_BAR = "--"


class LoopFiles:
    """The files of one request.

    Args:
      out:     the folder that will be written.
      request: all that the training depends on, JSON data.
      resume:  go on with what is there.
    """

    def __init__(self, out: Path, request: Mapping[str, object], *, resume: bool) -> None:
        """Keep what is there for a run that goes on; the writer of the output has refused every other by then."""
        self._folder = out.with_name(out.name + _SUFFIX)
        self._digest = hashlib.sha256(canonical_json(request)).hexdigest()
        if not resume:
            self.remove()

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
        """Remove everything, once the output is there."""
        for path in sorted(self._folder.glob("*")) if self._folder.is_dir() else ():
            path.unlink()
        if self._folder.is_dir():
            self._folder.rmdir()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"
