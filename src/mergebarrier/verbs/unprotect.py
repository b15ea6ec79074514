"""``unprotect``: a protected folder back to what it was, by key and manifest.

The manifest is data from a stranger until the key vouches for it: hubs and ``save_pretrained`` lose it, and anyone who
publishes the folder again may have rewritten it.  A seal that does not fit is refused.  Without one, as in folders of
older versions and of methods without a key, the work is done all the same, and what is promised is measured here.

A folder that was saved again may spell its tensors otherwise, and name another class; ``identity`` knows them.
"""

import hashlib
import re
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, View, ViewPart, canonical_json, read_manifest
from mergebarrier.checkpoint.files import ProtectContent
from mergebarrier.circuits import Circuit, family_of
from mergebarrier.errors import (
    BadManifest,
    DigestMismatch,
    KeyMismatch,
    MethodRefused,
    NotProtected,
    UnknownFamily,
    clean,
)
from mergebarrier.identity import spelled_as, table_of, without_twins
from mergebarrier.keys import Key
from mergebarrier.lineage import CARD
from mergebarrier.parameters import parameters_of
from mergebarrier.protect import PROTECTIONS, TRAINED, Protection, protection_named
from mergebarrier.run import Tables
from mergebarrier.verbs.folders import Ending, OutputOptions, input_of, write_circuits
from mergebarrier.verbs.protect import prepare, roundtrip_bound

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import Manifest, UnprotectContent, UnprotectFacts
    from mergebarrier.protect import Pieces

#: What the name of a class says of its head.
_HEAD = re.compile(r"(For[A-Z]\w+|LMHeadModel|Model)$")


def unprotect(
    source: Checkpoint, key: Key | None, into: OutputOptions, manifest: "Manifest | None" = None
) -> "UnprotectContent":
    """Undo ``protect`` with the key; what is reversible exactly comes back bit by bit, checked against the manifest.

    Args:
      source:   the protected model.
      key:      the owner's; None for a method without one.
      into:     where to.
      manifest: of the protection; default: that of the folder.
    Raises: NotProtected, KeyMismatch, BadManifest (not as the key's owner wrote it), DigestMismatch (files changed
      since, or the restored bits differ), MethodRefused (nothing undoes the method); nothing is left behind then.
    """
    manifest = manifest or protection_manifest(source)
    was = cast("ProtectContent", manifest["content"])
    if was["key_id"] is not None and (key is None or key.id != was["key_id"]):
        raise KeyMismatch(
            f"this model was protected with key {was['key_id']}, not with {key.id if key else 'no key'}",
            where=source.path,
            remedy="give the key file that `protect` made",
        )
    sealed = authenticated(manifest, key, source)
    source = _as_protected(source, was)
    found = source.named_digests() if isinstance(source, View) else source.digests(workers=into.workers)
    if found != was["output"]["tensors"]:
        raise DigestMismatch(
            "the weights differ from what `protect` wrote, so undoing it would not restore the original",
            where=source.path,
            remedy="use the protected folder as it was published",
        )
    protection, original = protection_from(was, source), was["inputs"][0]
    if key is None and protection.keyed:
        raise KeyMismatch(
            f"the manifest names no key, and {protection.name} draws from one",
            where=source.path,
            remedy="give the key file that `protect` made",
        )
    streams = None if key is None else lambda: key.streams(original["content_digest"], protection.name)
    architecture, prepared = prepare(source, protection, streams=streams, undone=was["parameters"])
    invert = prepared.invert
    if invert is None:
        raise MethodRefused(
            f"this form of {protection.name} cannot be undone", where=source.path, remedy="keep the original model"
        )
    if prepared.reversibility != was["parameters"]["reversibility"]:
        raise BadManifest(
            f"it calls undoing {clean(was['parameters']['reversibility'])}, which is {prepared.reversibility} here",
            where=source.path / MANIFEST_NAME,
            remedy="give --manifest with the copy that `protect` keeps beside the key",
        )
    facts: UnprotectFacts = {
        "verb": "unprotect",
        "method": protection.name,
        "parameters": dict(was["parameters"]),
        "key_id": was["key_id"],
        "inputs": [input_of("protected", source)],
        "roundtrip_bound": was["roundtrip_bound"] if sealed else roundtrip_bound(source, prepared),
        "restores": original["content_digest"],
        "authenticated": sealed,
    }

    def undo(circuit: Circuit, tables: Tables) -> "Pieces":
        return invert(circuit, tables[0])

    ending = Ending(expected=original["tensors"] if prepared.reversibility == "exact" else {})
    return cast(
        "UnprotectContent",
        write_circuits((source,), architecture, undo, facts, into, output=prepared.restored, ending=ending),
    )


def _as_protected(source: Checkpoint, was: ProtectContent) -> Checkpoint:
    """Return a model under the names, and of the class, that were protected, where it was saved again since."""
    names, parameters = was["output"]["tensors"], was["parameters"]
    if source.tensors.keys() == names.keys():
        return source
    view = without_twins(spelled_as(names, source), names)
    asked, moved = (
        any("residual" in str(value) for key, value in parameters.items() if key.rpartition(".")[2] == word)
        for word in ("only", "spaces")
    )
    own, table = str((source.config.get("architectures") or [""])[0]), table_of(source)
    stem, classes = _HEAD.sub("", own), () if table is None else table.architectures
    heads = [one for one in classes if _HEAD.sub("", one) == stem]
    parts = {name: ViewPart.of(view, name) for name in view.tensors}
    for name in (own, *heads, f"{stem}Model"):
        candidate = View(view, parts, {}, {**source.config, "architectures": [name]})
        with suppress(UnknownFamily):
            # Nothing moves the stream of a class without a head: it is what that class gives out.
            if not asked or moved == any(axis.is_stream for axis in family_of(candidate).axes.values()):
                return candidate
    return view


def changed_files(source: Checkpoint, was: ProtectContent) -> tuple[str, ...]:
    """Return the files beside the weights that ``protect`` did not write so; a card is its owner's to change."""
    listed = {name: file.get("sha256") for name, file in was["output"]["files"].items()}
    held = [name for name in source.side_files if name != CARD]
    return tuple(n for n in held if hashlib.sha256(source.read_side_file(n)).hexdigest() != listed.get(n))


def authenticated(manifest: "Manifest", key: Key | None, source: Checkpoint) -> bool:
    """Say whether the key vouches for a manifest; BadManifest where it bears a seal that is not the key's."""
    seal = manifest.get("seal")
    if key is None or seal is None:
        return False
    if not key.vouches(canonical_json(manifest["content"]), seal["hmac_sha256"]):
        raise BadManifest(
            "the manifest was changed since the owner of the key wrote it",
            where=source.path / MANIFEST_NAME,
            remedy="give --manifest with the copy that `protect` keeps beside the key",
        )
    return True


def protection_manifest(source: Checkpoint, file: Path | None = None) -> "Manifest":
    """Return the manifest of a protected folder, or of a file that was kept of it.

    Raises: NotProtected when there is none; BadManifest when it lacks what every such manifest has.
    """
    written = file is not None or (source.root / MANIFEST_NAME).exists()
    folder, name = (source.root, MANIFEST_NAME) if file is None else (file.parent, file.name)
    found = read_manifest(folder, name=name) if written else None
    if found is None or found["content"].get("verb") != "protect":
        raise NotProtected(
            "there is no manifest of a protection",
            where=folder / name,
            remedy="give --manifest with the copy that `protect` keeps beside the key",
        )
    return found


def protection_from(content: "ProtectContent", source: Checkpoint) -> Protection:
    """Rebuild the protection that a manifest describes."""
    names, parameters = content["method"].split("+"), content["parameters"]
    if trained := [name for name in names if name in TRAINED]:
        what = f"{trained[0]} is trained: nothing gives the expert back that it was made from"
        raise MethodRefused(what, where=source.path, remedy="use the original, which its owner keeps")
    if not content["inputs"]:
        what, remedy = "it says of no model that it was protected", "use the folder as mergebarrier wrote it"
        raise BadManifest(what, where=source.path / MANIFEST_NAME, remedy=remedy)
    if unknown := [name for name in names if name not in PROTECTIONS]:
        raise NotProtected(f"unknown method {clean(unknown[0])!r} in the manifest", remedy="use a newer mergebarrier")
    declared = {
        f"{name}.{field}" if len(names) > 1 else field for name in names for field in parameters_of(PROTECTIONS[name])
    }
    _check_keys(parameters, {*declared, "reversibility"}, source)
    return protection_named(content["method"], {name: parameters[name] for name in declared})


def _check_keys(table: Mapping[str, object], needed: Set[str], source: Checkpoint) -> None:
    lacking = sorted(needed - table.keys())
    if lacking:
        raise BadManifest(
            f"the manifest of a protection lacks {', '.join(lacking)}",
            where=source.path / MANIFEST_NAME,
            remedy="use the folder as mergebarrier wrote it",
        )
