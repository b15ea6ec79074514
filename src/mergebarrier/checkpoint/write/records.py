"""How far an output is: tensors that are being filled, and records of finished units with the digests of their bytes.

A record is written after the bytes and is believed only when the bytes still have its digests, so neither the order in
which a crash loses writes nor a full disk can pass off a hole as weights.

    tasks/<SHA-256(unit name)[:32]>.done = {"made_of": .., "plan": digest, "tensors": {name: digest}, "unit": name}

What a unit was made of (digests of the inputs' tensors) is kept for a run that resumes, and not judged here.

Source: ours.  Differs from a journal with an fsync per unit: the check at resume replaces it, and costs one read then
instead of a disk flush per unit always.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergebarrier.checkpoint.bytes import TensorInfo, full_disk, new_tensor_hash, parse_bounded, read_small, write_at
from mergebarrier.checkpoint.files import canonical_json
from mergebarrier.errors import BadManifest, CheckpointError

_MAX_BYTES = 64 * 2**20
_MAX_VALUES = 2_000_000


@dataclass(frozen=True)
class UnitRecord:
    """What a finished unit left: the digests of its tensors, and what it was made of, or None."""

    tensors: Mapping[str, str]
    made_of: Any = None


def write_new(path: Path, data: bytes) -> None:
    """Write and fsync a file that must not exist yet; mode 0666 less the umask."""
    with full_disk(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            write_at(fd, 0, memoryview(data), path)
            os.fsync(fd)
        finally:
            os.close(fd)


def write_record(tasks: Path, unit: str, plan_sha256: str, record: UnitRecord) -> None:
    """Write the record of one unit, by rename, so that it is whole or absent."""
    path = tasks / f"{hashlib.sha256(unit.encode()).hexdigest()[:32]}.done"
    draft = path.with_suffix(".new")
    with full_disk(path):
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            table = {"plan": plan_sha256, "tensors": dict(record.tensors), "unit": unit, "made_of": record.made_of}
            write_at(fd, 0, memoryview(canonical_json(table)), path)
        finally:
            os.close(fd)
        os.rename(draft, path)


def read_records(tasks: Path, plan_sha256: str) -> dict[str, UnitRecord]:
    """Return {unit: record} of every well-formed record of this plan; others are left out and redone."""
    found: dict[str, UnitRecord] = {}
    for name in sorted(os.listdir(tasks)):
        if not name.endswith(".done"):
            continue
        with contextlib.suppress(CheckpointError):
            document = parse_bounded(
                read_small(tasks.resolve(), name, _MAX_BYTES),
                BadManifest,
                max_depth=4,
                max_values=_MAX_VALUES,
                where=name,
                remedy="",
            )
            if isinstance(document, dict) and document.get("plan") == plan_sha256:
                found[str(document["unit"])] = UnitRecord(dict(document["tensors"]), document["made_of"])
    return found


@dataclass
class Filling:
    """The state of a tensor between its first piece and ``finish``; not shared between threads."""

    info: TensorInfo
    _next_row: int = 0
    _in_order: bool = True
    _pieces: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the digest."""
        self._digest = new_tensor_hash(self.info.name, self.info.dtype, self.info.shape)

    def add(self, start: int, stop: int, content: memoryview) -> None:
        """Note that rows ``start`` to ``stop`` (exclusive) were written with these bytes."""
        self._pieces.append((start, stop))
        self._in_order = self._in_order and start == self._next_row
        if self._in_order:
            self._digest.update(content)
            self._next_row = stop

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        reached = 0
        for start, stop in sorted(self._pieces):
            if start > reached:
                return False
            reached = max(reached, stop)
        return reached >= self.info.rows or not self.info.numel

    @property
    def digest(self) -> str | None:
        """The digest, if the rows came in order; None when the bytes must be read again for it."""
        in_order = self._in_order and (self._next_row == self.info.rows or not self.info.numel)
        return self._digest.hexdigest() if in_order else None
