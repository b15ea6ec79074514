"""Which inputs a finished unit of a merge was made of, so that a merge resumes without hashing its inputs first.

Inputs are hashed while they are merged; their digests cannot be part of the plan that two runs must share.  So every
unit records the digests of the tensors it read, and a run that resumes redoes the units whose inputs are others now.
The result is that of an undisturbed run, since a unit depends on nothing else; where a method looks at the whole model
first (a cut over all tensors, a training), every unit records the digests of the whole inputs too.

    record of a unit = {"tensors": {name: [digest in every source, None where one lacks it]}, "models": [digest, ..]}
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from mergebarrier.checkpoint import Writer
from mergebarrier.run import Source


@runtime_checkable
class _Hashed(Protocol):
    def digest(self, name: str) -> str | None: ...


class InputRecordingSink:
    """The writer of a merge, as the executor's sink; what an unhashed source made is never taken over."""

    def __init__(self, writer: Writer, sources: Sequence[Source], models: Sequence[str]) -> None:
        """Watch what is written from these sources; ``models`` are digests that every unit depends on."""
        self._writer, self._sources, self._models = writer, sources, [*models]

    def done(self, unit_name: str) -> bool:
        """True when the unit is finished and its inputs are still the same."""
        if self._writer.finished:
            return True
        made_of = self._writer.made_of(unit_name)
        return made_of is not None and made_of == self._made_of([*made_of["tensors"]])

    def put(self, name: str, tensor: Tensor) -> None:
        """Take a whole tensor."""
        self._writer.put(name, tensor)

    def put_rows(self, name: str, start_row: int, tensor: Tensor) -> None:
        """Take rows of a tensor."""
        self._writer.put_rows(name, start_row, tensor)

    def finish(self, unit_name: str, names: Sequence[str]) -> None:
        """Record the unit with the digests of what it read."""
        self._writer.finish(unit_name, names, self._made_of(names))

    def _made_of(self, names: Sequence[str]) -> dict[str, object] | None:
        """Return the record of a unit; None where what a source gives has no digest."""
        found: dict[str, list[str | None]] = {name: [] for name in names}
        for source in self._sources:
            if not isinstance(source, _Hashed):
                return None
            for name in names:
                present = name in source.tensors
                digest = source.digest(name) if present else None
                if present and digest is None:
                    return None
                found[name].append(digest)
        return {"tensors": found, "models": self._models}
