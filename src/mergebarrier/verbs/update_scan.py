"""The check of ``scan`` on the weights of fine-tunes: profiles of uploads, beside those of honest ones in a file.

references = {"schema_version": 1, "kind": "scan-references", "base": digest, "recipes": {recipe: [[numbers]]}}

An adapter of plain factors is measured without its base too, but for how large the update is beside the map; "base" is
null then, and the recipe says so.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from mergebarrier.checkpoint import AdaptedCheckpoint, Adapter, Checkpoint
from mergebarrier.checkpoint.bytes import parse_bounded, read_small
from mergebarrier.errors import AdapterRefused, BadScanInput, MergebarrierError, odd_shape
from mergebarrier.scan import (
    Attempt,
    Finding,
    Profile,
    TensorUpdate,
    judge_rank,
    judge_update,
    not_judged,
    plainly,
    profile,
)

#: An upload as its update is measured: a model beside its base, or an adapter by itself.
Measurable: TypeAlias = Checkpoint | Adapter
#: Recipe -> numbers of honest uploads by it.
References = dict[str, list[list[float]]]
_MAX_BYTES: Final = 64 << 20
_MAX_DEPTH: Final = 8
_MAX_VALUES: Final = 1 << 22
_REMEDY: Final = "make them with `scan ... --calibrate`"


def update_profile(base: Checkpoint | None, upload: Measurable) -> Profile:
    """Measure the update of an upload; of an adapter from its factors, and without a base if there is none.

    Raises: AdapterRefused for an adapter without a base that holds more than factors of maps.
    """
    if isinstance(upload, Adapter):
        found = profile(_alone(upload))
        beside = ", whole tensors not measured" if upload.whole or upload.tokens else ""
        return replace(found, recipe=f"{found.recipe}, without its base{beside}")
    assert base is not None
    return profile(_factored(base, upload) if isinstance(upload, AdaptedCheckpoint) else _dense(base, upload))


@dataclass(frozen=True, kw_only=True)
class UpdateScan:
    """What updates are judged beside.

    Args:
      references:    file of references.
      calibrate:     the uploads are honest: add them to that file, and judge none.
      declared_rank: rank of the adapters that the uploads are said to be.
    """

    references: Path | None = None
    calibrate: bool = False
    declared_rank: int | None = None

    @property
    def wanted(self) -> bool:
        """Say whether there is anything to do."""
        return self.references is not None or self.declared_rank is not None


def judge_updates(
    base: Checkpoint | None, uploads: Mapping[str, Measurable], request: UpdateScan, attempt: Attempt = plainly
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Judge each upload beside honest ones by its recipe, and by the rank that it is said to have.

    Args:
      base:    what they were fine-tuned from; None for adapters by themselves.
      uploads: name -> upload that fits it.
      request: what they are judged beside.
      attempt: measures an upload; one with which it says False is not judged, and then no references are written.
    Returns: (findings, names of the uploads that were measured).
    Raises: BadScanInput for a file that holds no references of this base.
    """
    known: References = {}
    path, declared = request.references, request.declared_rank
    if path is not None and (path.exists() or not request.calibrate):
        known = read_references(path, base)
    findings, seen = list[Finding](), list[str]()
    fresh: References = {recipe: list(rows) for recipe, rows in known.items()}
    for name, upload in uploads.items():
        measured: list[Profile] = []
        if not attempt(name, partial(_measure, base, upload, measured)):
            continue
        found = measured.pop()
        seen.append(name)
        if found.norm == 0.0:
            findings += not_judged(name, found, "nothing is changed, so there is no update")
            continue
        fresh.setdefault(found.recipe, []).append(list(found.numbers))
        if path is not None and not request.calibrate:
            findings += judge_update(name, found, known.get(found.recipe, ()))
        if declared is not None:
            findings += judge_rank(name, found, declared)
    if path is not None and request.calibrate and len(seen) == len(uploads):
        _replace(path, base, fresh)
    return tuple(findings), tuple(seen)


def _measure(base: Checkpoint | None, upload: Measurable, measured: list[Profile]) -> None:
    measured.append(update_profile(base, upload))


def read_references(path: Path, base: Checkpoint | None) -> References:
    """Read the references of a base, or those that were made without one.

    Raises: BadScanInput for a file that holds none, or those of another base.
    """
    try:
        file = path.absolute()
        document = parse_bounded(
            read_small(file.parent.resolve(), file.name, _MAX_BYTES),
            lambda fault: BadScanInput(fault, where=path, remedy=_REMEDY),
            max_depth=_MAX_DEPTH,
            max_values=_MAX_VALUES,
            where=path,
            remedy=_REMEDY,
        )
        if (document["kind"], document["schema_version"]) != ("scan-references", 1):
            raise BadScanInput("it is a document of another kind", where=path, remedy=_REMEDY)
        found = {
            str(recipe): [[float(number) for number in row] for row in rows]
            for recipe, rows in document["recipes"].items()
        }
    except (MergebarrierError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        what = f"holds no references: {odd_shape(fault)}"
        raise BadScanInput(what, where=path, remedy=_REMEDY) from fault
    if document["base"] != _digest(base):
        raise BadScanInput("references of another base", where=path, remedy="make them for this one")
    return found


def _digest(base: Checkpoint | None) -> str | None:
    return None if base is None else base.content_digest()


def _replace(path: Path, base: Checkpoint | None, recipes: References) -> None:
    """Write references in one step."""
    document = {"schema_version": 1, "kind": "scan-references", "base": _digest(base), "recipes": recipes}
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        fresh.write_text(json.dumps(document, indent=1) + "\n")
        fresh.replace(path)
    except OSError as fault:
        fresh.unlink(missing_ok=True)
        what = f"cannot be written ({fault.strerror})"
        raise BadScanInput(what, where=path, remedy="name a file in a folder that can be written to") from fault


def _dense(base: Checkpoint, upload: Checkpoint) -> Iterator[TensorUpdate]:
    for name, info in base.tensors.items():
        if info.role == "weight" and name in upload.tensors:
            before = base.read(name).float()
            after = upload.read(name).float()
            if after.shape == before.shape:
                yield TensorUpdate(name=name, update=after - before, base_norm=float(before.double().norm()))


def _factored(base: Checkpoint, upload: AdaptedCheckpoint) -> Iterator[TensorUpdate]:
    for name, change in upload.changes.items():
        before = base.read(change.source).float()
        norm = float(before.double().norm())
        factors = change.factors
        if factors is None or factors.embedding or factors.magnitude or factors.parameters or factors.experts > 1:
            after = upload.read(name).float()
            if after.shape == before.shape:
                yield TensorUpdate(name=name, update=after - before, base_norm=norm)
            continue
        b, a = (upload.adapter.weights.read(one.name).float() for one in (factors.b, factors.a))
        yield TensorUpdate(name=name, update=(b * factors.scale, a), base_norm=norm)


def _alone(adapter: Adapter) -> Iterator[TensorUpdate]:
    plain = not any(one.magnitude or one.parameters or one.experts > 1 for one in adapter.factors.values())
    if adapter.updates or not plain:
        what = "an update that its factors alone do not tell (no LoRA, experts or magnitudes)"
        raise AdapterRefused(what, where=adapter.path, remedy="give --base")
    for name, factors in adapter.factors.items():
        b, a = adapter.read(name)
        yield TensorUpdate(name=name, update=(b * factors.scale, a))
