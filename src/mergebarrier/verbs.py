"""Where the rooms meet: protect, unprotect and realign one model folder into another.

Each function plans, streams circuit by circuit through ``run`` into a crash-proof writer, and commits a manifest that
says what was done to what.  The command line and the audit call these and nothing deeper; there is no mathematics here.

    checkpoint -> arch.gather -> protect or realign (symmetry inside) -> round once -> arch.scatter -> checkpoint
"""

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergebarrier.arch import Architecture, Circuit, describe, gather, require_same, scatter
from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, Writer, layout_like, read_manifest
from mergebarrier.errors import DigestMismatch, KeyMismatch, NothingToAlign, NotProtected, clean
from mergebarrier.protect import Exact, MergeBarrier, Protection
from mergebarrier.provenance import Key, Streams
from mergebarrier.realign import GaugeFix, Realignment
from mergebarrier.run import transform

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
Change = Callable[[Circuit, list[dict[str, "Tensor"]]], Iterator[tuple[str, "Tensor"]]]

# Unit roundoff: half the distance from 1 to the next number.
_ROUNDOFF = {"F64": 2.0**-53, "F32": 2.0**-24, "BF16": 2.0**-8, "F16": 2.0**-11}


@dataclass(frozen=True)
class Into:
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


def protect(source: Checkpoint, protection: Protection, key: Key | None, into: Into) -> dict[str, Any]:
    """Write a protected model.

    Args:
      source:     the owner's model.
      protection: a member of ``PROTECTIONS``, validated.
      key:        the owner's key; None for a method without one.
      into:       where to.
    Returns: the ``content`` part of the manifest.
    Raises:  ArchError, MethodRefused, CheckpointError; nothing is finalised then.
    """
    architecture = describe(source)
    protection.check(architecture, {name: info.dtype for name, info in source.tensors.items()})
    parameters = protection.describe(architecture)
    source.digests(workers=into.workers)
    streams = _streams(source.content_digest(), protection, key)
    content = _content("protect", protection.name, parameters) | {
        "key_id": key.id if key is not None else None,
        "inputs": [_input("model", source)],
        "roundtrip_bound": _roundtrip_bound(source, parameters),
    }
    change = _in_logical_layout(lambda circuit, parts: protection.apply(circuit, parts[0], streams))
    return _write((source,), architecture, change, content, into)


def unprotect(source: Checkpoint, key: Key | None, into: Into) -> dict[str, Any]:
    """Undo ``protect`` with the key; ``lossless`` restores every bit, which is checked against the manifest.

    Raises: NotProtected, KeyMismatch, DigestMismatch (files changed since, or the restored bits differ).
    """
    was = protection_manifest(source)
    if was["key_id"] is not None and (key is None or key.id != was["key_id"]):
        raise KeyMismatch(
            f"this model was protected with key {was['key_id']}, not with {key.id if key else 'no key'}",
            where=source.path,
            remedy="give the key file that `protect` made",
        )
    if source.digests(workers=into.workers) != was["output"]["tensors"]:
        raise DigestMismatch(
            "the weights differ from what `protect` wrote, so undoing it would not restore the original",
            where=source.path,
            remedy="use the protected folder as it was published",
        )
    architecture = describe(source)
    protection = protection_from(was)
    original = was["inputs"][0]
    streams = _streams(original["content_digest"], protection, key)
    content = _content("unprotect", protection.name, was["parameters"]) | {
        "key_id": was["key_id"],
        "inputs": [_input("protected", source)],
        "roundtrip_bound": was["roundtrip_bound"],
        "restores": original["content_digest"],
    }
    change = _in_logical_layout(lambda circuit, parts: protection.invert(circuit, parts[0], streams))
    exact = was["parameters"]["reversibility"] == "exact"
    return _write((source,), architecture, change, content, into, expected=original["tensors"] if exact else None)


def realign(model: Checkpoint, base: Checkpoint, realignment: Realignment, into: Into) -> tuple[dict[str, Any], Any]:
    """Write ``model`` in the coordinates of ``base``, without any key.

    Returns: (content of the manifest, diagnostics of the fit).
    Raises:  BaseMismatch, NothingToAlign, ArchError, CheckpointError.
    """
    architecture, anchor = describe(model), describe(base)
    require_same(architecture, anchor, where=base.path)
    if model.digests(workers=into.workers) == base.digests(workers=into.workers):
        raise NothingToAlign("model and base are the same weights", where=model.path, remedy="give a fine-tune")
    with _circuit_map(into.workers) as parallel:
        fitted = realignment.fit(architecture, model, base, parallel=parallel)
    content = _content("realign", realignment.name, vars(realignment)) | {
        "inputs": [_input("model", model), _input("base", base)],
        "diagnostics": fitted.diagnostics,
        "licences": [licence(model), licence(base)],
    }
    change = _in_logical_layout(lambda circuit, parts: iter(fitted.apply(circuit, *parts).items()))
    return _write((model, base), architecture, change, content, into), fitted.diagnostics


def protection_manifest(source: Checkpoint) -> dict[str, Any]:
    """Return the content of the manifest of a protected folder; NotProtected when it has none."""
    written = (source.root / MANIFEST_NAME).exists()
    content = read_manifest(source.path)["content"] if written else {}
    if content.get("verb") != "protect":
        raise NotProtected(
            "no manifest of a protection lies beside these weights",
            where=source.path,
            remedy="give the folder that `mergebarrier protect` wrote, with its mergebarrier.json",
        )
    return dict(content)


def protection_from(content: Mapping[str, Any]) -> Protection:
    """Rebuild the protection that a manifest describes."""
    method, parameters = content.get("method"), content["parameters"]
    if method == "exact":
        return Exact(parameters["profile"], tuple(parameters["only"]), float(parameters["condition"]))
    if method == "mergebarrier":
        return MergeBarrier(parameters["flip_fraction"], parameters["form"])
    raise NotProtected(f"unknown method {method!r} in the manifest", remedy="use a newer mergebarrier")


def check_protect(source: Checkpoint, protection: Protection, *, workers: int = 1) -> None:
    """Refuse whatever `protect` would refuse, values included, before a key is made or a byte written."""
    protection.check(describe(source), {name: info.dtype for name, info in source.tensors.items()})
    source.digests(workers=workers)


def dry_run(source: Checkpoint, protection: Protection) -> dict[str, Any]:
    """Return what ``protect`` would do: circuits, bytes, effective parameters."""
    architecture = describe(source)
    protection.check(architecture, {name: info.dtype for name, info in source.tensors.items()})
    return {
        "method": protection.name,
        "family": architecture.family,
        "parameters": protection.describe(architecture),
        "circuits": len(architecture.circuits),
        "tensors": len(source.tensors),
        "bytes": sum(info.nbytes for info in source.tensors.values()),
        "files": [shard.name for shard in source.shards],
    }


def check_realign(model: Checkpoint, base: Checkpoint) -> dict[str, Any]:
    """Return what ``realign`` would work on, after the checks that need no weights."""
    architecture = describe(model)
    require_same(architecture, describe(base), where=base.path)
    return {"family": architecture.family, "circuits": len(architecture.circuits), "tensors": len(model.tensors)}


def undone_by_realignment(
    original: Checkpoint, protected: Checkpoint, base: Checkpoint, *, workers: int = 1, progress: Progress | None = None
) -> dict[str, Any]:
    """Attack a protected model with ``gaugefix`` in memory and measure what is left of the change, writing nothing.

    Returns: undone_pct = 100 (1 - |recovered - original| / |protected - original|), seconds, and the diagnostics.
    """
    started = time.perf_counter()
    architecture = describe(protected)
    require_same(architecture, describe(base), where=base.path)
    with _circuit_map(workers) as parallel:
        fitted = GaugeFix().fit(architecture, protected, base, parallel=parallel)
        attack = _in_logical_layout(lambda circuit, parts: iter(fitted.apply(circuit, *parts).items()))
        left = changed = 0.0
        for done, circuit in enumerate(architecture.circuits, start=1):
            published, anchor, ours = (
                {name: side.read(name) for name in circuit.tensors} for side in (protected, base, original)
            )
            recovered = attack(circuit, [dict(published), anchor])
            left += sum(float((recovered[name].float() - ours[name].float()).square().sum()) for name in ours)
            changed += sum(float((published[name].float() - ours[name].float()).square().sum()) for name in ours)
            if progress is not None:
                progress(done, len(architecture.circuits))
    undone = 100.0 * (1.0 - (left / changed) ** 0.5) if changed else 0.0
    return {
        "undone_pct": undone,
        "seconds": time.perf_counter() - started,
        "attack": "gaugefix",
        "diagnostics": fitted.diagnostics,
    }


def licence(source: Checkpoint) -> str:
    """Return the licence that the model card of a folder declares in its front matter, or "unknown"."""
    if "README.md" not in source.side_files:
        return "unknown"
    head = source.read_side_file("README.md").decode(errors="replace").split("---")
    lines = head[1].splitlines() if len(head) > 2 else []
    declared = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return clean(declared[0]) if declared and declared[0] else "unknown"


def _streams(content_digest: str, protection: Protection, key: Key | None) -> Streams | None:
    return key.streams(content_digest, protection.name) if protection.keyed and key is not None else None


def _in_logical_layout(change: Change) -> Callable[[Any, list[dict[str, "Tensor"]]], dict[str, "Tensor"]]:
    """Wrap a change of logical tensors so that ``run`` sees physical ones, rounded once to its dtypes."""

    def apply(circuit: Circuit, physical: list[dict[str, "Tensor"]]) -> dict[str, "Tensor"]:
        parts = [gather(circuit, tensors) for tensors in physical]
        for tensors in physical:
            # The logical views keep what is still needed, each until it is replaced: no circuit is held twice.
            tensors.clear()
        dtypes = {name: tensor.dtype for name, tensor in parts[0].items()}
        # One rounding, from whatever width the arithmetic had; the writer refuses a value that leaves the range.
        return scatter(circuit, {name: tensor.to(dtypes[name]) for name, tensor in change(circuit, parts)})

    return apply


def _write(
    sources: Sequence[Checkpoint],
    architecture: Architecture,
    apply: Callable[[Any, list[dict[str, "Tensor"]]], dict[str, "Tensor"]],
    content: dict[str, Any],
    into: Into,
    *,
    expected: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Stream the circuits through ``apply`` into a new folder and commit it."""
    donor = sources[0]
    writer = Writer.create(
        into.out,
        layout_like(donor),
        plan={name: value for name, value in content.items() if name != "diagnostics"},
        inputs=[source.path for source in sources],
        resume=into.resume,
        overwrite=into.overwrite,
    )
    with closing(writer):
        transform(
            sources,
            writer,
            architecture.circuits,
            apply,
            workers=into.workers,
            max_ram_bytes=into.max_ram_bytes,
            progress=into.progress,
        )
        odd = next((name for name in expected or () if (expected or {})[name] != writer.digests[name]), None)
        if odd is not None:
            raise DigestMismatch(
                "the restored bytes differ from those that were protected",
                where=f"{into.out}: {odd}",
                remedy="use the mergebarrier version that protected this model",
            )
        side_files = {name: donor.read_side_file(name) for name in donor.side_files}
        writer.commit(content, environment(), side_files, workers=into.workers)
    return dict(read_manifest(into.out)["content"])


def _content(verb: str, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"verb": verb, "method": method, "parameters": dict(parameters)}


def _input(role: str, source: Checkpoint) -> dict[str, Any]:
    return {
        "role": role,
        "content_digest": source.content_digest(),
        "tensors": source.digests(),
        "files": source.file_digests(),
    }


def _roundtrip_bound(source: Checkpoint, parameters: Mapping[str, Any]) -> float:
    """Largest relative error (Frobenius, per tensor) of a round trip: one rounding each way, the first amplified."""
    if parameters["reversibility"] == "exact":
        return 0.0
    worst = max(_ROUNDOFF.get(info.dtype, 0.0) for info in source.tensors.values())
    return worst * (float(parameters.get("condition", 1.0)) + 1.0)


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


@contextmanager
def _circuit_map(workers: int) -> Iterator[Callable[..., Any]]:
    import torch

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)
