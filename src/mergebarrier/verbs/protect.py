"""``protect`` and ``unprotect``: another gauge for a model folder, and back, with a manifest that says it all."""

from collections.abc import Mapping
from typing import Any

from mergebarrier.arch import describe
from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, read_manifest
from mergebarrier.checkpoint.bytes import ROUNDOFF
from mergebarrier.errors import DigestMismatch, KeyMismatch, NotProtected
from mergebarrier.keys import Key, Streams
from mergebarrier.protect import Exact, MergeBarrier, Protection
from mergebarrier.verbs.circuits import in_logical_layout, write_circuits
from mergebarrier.verbs.output import OutputOptions, content_of, input_of

# Unit roundoff: half the distance from 1 to the next number.


def protect(source: Checkpoint, protection: Protection, key: Key | None, into: OutputOptions) -> dict[str, Any]:
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
    content = content_of("protect", protection.name, parameters) | {
        "key_id": key.id if key is not None else None,
        "inputs": [input_of("model", source)],
        "roundtrip_bound": _roundtrip_bound(source, parameters),
    }
    change = in_logical_layout(lambda circuit, parts: protection.apply(circuit, parts[0], streams))
    return write_circuits((source,), architecture, change, content, into)


def unprotect(source: Checkpoint, key: Key | None, into: OutputOptions) -> dict[str, Any]:
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
    content = content_of("unprotect", protection.name, was["parameters"]) | {
        "key_id": was["key_id"],
        "inputs": [input_of("protected", source)],
        "roundtrip_bound": was["roundtrip_bound"],
        "restores": original["content_digest"],
    }
    change = in_logical_layout(lambda circuit, parts: protection.invert(circuit, parts[0], streams))
    exact = was["parameters"]["reversibility"] == "exact"
    return write_circuits(
        (source,), architecture, change, content, into, expected=original["tensors"] if exact else None
    )


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


def _streams(content_digest: str, protection: Protection, key: Key | None) -> Streams | None:
    return key.streams(content_digest, protection.name) if protection.keyed and key is not None else None


def _roundtrip_bound(source: Checkpoint, parameters: Mapping[str, Any]) -> float:
    """Largest relative error (Frobenius, per tensor) of a round trip: one rounding each way, the first amplified."""
    if parameters["reversibility"] == "exact":
        return 0.0
    worst = max(ROUNDOFF.get(info.dtype, 0.0) for info in source.tensors.values())
    return worst * (float(parameters.get("condition", 1.0)) + 1.0)
