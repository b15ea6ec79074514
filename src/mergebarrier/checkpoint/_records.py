"""Records of finished units: which tensors are complete, with the digest that their bytes must have.

A record is written after the bytes and is believed only when the bytes still have its digests, so neither the order in
which a crash loses writes nor a full disk can pass off a hole as weights.

    tasks/<SHA-256(unit name)[:32]>.done = {"plan": digest, "tensors": {name: tensor digest}, "unit": name}

Source: ours.  Differs from a journal with an fsync per unit: the check at resume replaces it, and costs one read then
instead of a disk flush per unit always.
"""

import contextlib
import hashlib
import os
from pathlib import Path

from mergebarrier.checkpoint._io import full_disk, read_small, write_at
from mergebarrier.checkpoint._strict_json import parse_bounded
from mergebarrier.checkpoint.manifest import canonical_json
from mergebarrier.errors import BadManifest, CheckpointError

_MAX_BYTES = 64 * 2**20
_MAX_VALUES = 2_000_000


def write_new(path: Path, data: bytes) -> None:
    """Write and fsync a file that must not exist yet; mode 0666 less the umask."""
    with full_disk(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            write_at(fd, 0, memoryview(data), path)
            os.fsync(fd)
        finally:
            os.close(fd)


def write_record(tasks: Path, unit: str, plan_sha256: str, digests: dict[str, str]) -> None:
    """Write the record of one unit, by rename, so that it is whole or absent."""
    path = tasks / f"{hashlib.sha256(unit.encode()).hexdigest()[:32]}.done"
    draft = path.with_suffix(".new")
    with full_disk(path):
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            text = canonical_json({"plan": plan_sha256, "tensors": digests, "unit": unit})
            write_at(fd, 0, memoryview(text), path)
        finally:
            os.close(fd)
        os.rename(draft, path)


def read_records(tasks: Path, plan_sha256: str) -> dict[str, dict[str, str]]:
    """Return {unit: {tensor: digest}} of every well-formed record of this plan; others are left out and redone."""
    found: dict[str, dict[str, str]] = {}
    for name in sorted(os.listdir(tasks)):
        if not name.endswith(".done"):
            continue
        with contextlib.suppress(CheckpointError):
            document = parse_bounded(
                read_small(tasks.resolve(), name, _MAX_BYTES),
                BadManifest,
                max_depth=3,
                max_values=_MAX_VALUES,
                where=name,
                remedy="",
            )
            if isinstance(document, dict) and document.get("plan") == plan_sha256:
                found[str(document["unit"])] = dict(document["tensors"])
    return found
