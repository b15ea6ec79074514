"""Open uploads as suspects, one apart from the other: what a stranger's folder does to us is a finding about it.

    folder -> everything beside the weights -> strict reader -> manifest, digests -> against the base

Nothing here raises for what an upload holds: a refusal is a finding, and what could not be looked at is another kind.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, is_adapter, read_manifest, split_reference
from mergebarrier.checkpoint.bytes import inside
from mergebarrier.circuits import describe, require_same
from mergebarrier.errors import ArchError, ProvenanceError, RealignError, RemoteCodeRefused, folder_name
from mergebarrier.identity import repeats, spelled_like
from mergebarrier.lineage import declared
from mergebarrier.provenance import RelateOptions
from mergebarrier.scan import Finding, finding, named_code, tags, unseen
from mergebarrier.verbs.beside import Identified, guarded, look_beside
from mergebarrier.verbs.checks import MergeInput
from mergebarrier.verbs.folders import Models, parts_of
from mergebarrier.verbs.inputs import relatives
from mergebarrier.verbs.provenance import relate_models

_NAMED_CODE: Final = "MB7106"
#: Verdicts of cosines that say nothing about descent, and how much is drawn to tell.
_UNTOLD: Final = ("unrelated", "unclear")
_CHEAP: Final = RelateOptions(draws=9, layers=2)


@dataclass(frozen=True)
class Upload:
    """One model to be judged: its name in findings, where it is, and whether it is an entry of a folder of uploads."""

    name: str
    path: Path | Checkpoint
    is_entry: bool = False

    @property
    def leads_out(self) -> bool:
        """Say whether it is a link in the folder of uploads to somewhere else."""
        if not self.is_entry or isinstance(self.path, Checkpoint) or not self.path.is_symlink():
            return False
        return not inside(self.path.resolve(), self.path.parent.resolve())

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return the folders that make it, as they were given; one, or a base and an adapter."""
        if isinstance(self.path, Checkpoint):
            return tuple(part.path for part in parts_of(self.path))
        return tuple(part for part in split_reference(self.path) if part is not None)


def called(path: Path | Checkpoint) -> str:
    """Name a model without its path."""
    if isinstance(path, Checkpoint):
        return path.name
    return "+".join(folder_name(part.absolute()) for part in split_reference(path) if part is not None)


def look(
    upload: Upload, base: Path | Checkpoint | None, folders: Models, findings: list[Finding], *, workers: int = 1
) -> Checkpoint | None:
    """Look at one folder and open its model.

    Args:
      upload:   to look at.
      base:     what an adapter is put on; without one its weights are read as they are.
      folders:  opens, and closes at the end.
      findings: what there is to say is added.
      workers:  threads of hashing.
    Returns: None where the strict reader refuses it.
    """
    opened: list[Checkpoint] = []
    before = len(findings)
    if upload.leads_out:
        findings.append(unseen(upload.name, "", "a link that leads out of the folder of uploads"))
        return None

    def read() -> None:
        checkpoint = _open(upload.path, base, folders)
        for part in parts_of(checkpoint):
            if (part.root / MANIFEST_NAME).exists():
                read_manifest(part.root)
        checkpoint.digests(workers=workers)
        findings.extend(named_code(upload.name, checkpoint.code))
        for said in map(declared, parts_of(checkpoint)):
            findings.extend(tags(upload.name, attack=said.attack, wish=said.do_not_merge, protected=said.protected))
        opened.append(checkpoint)

    def beside() -> None:
        for folder in upload.folders:
            if folder.is_dir():
                told = {one.file for one in findings if _names_code(one)}
                found = look_beside(upload.name, folder.resolve(), _listed(opened, folder))
                findings.extend(one for one in found if one.rule != _NAMED_CODE or one.file not in told)

    refused = guarded(upload.name, "", read)
    findings += [refused] if refused is not None else []
    findings[before:] = [_identified(one, upload.folders) for one in findings[before:]]
    fault = guarded(upload.name, "", beside)
    findings += [fault] if fault is not None else []
    return opened[0] if opened and refused is None else None


def _identified(found: Finding, folders: Sequence[Path]) -> Finding:
    """Add the digest of the file that a finding of the reader is about."""
    holds = [folder for folder in folders if found.file and os.path.lexists(folder / found.file)]
    return Identified(holds[0].resolve()).told(found, found.file) if holds else found


def _names_code(found: Finding) -> bool:
    """Say whether a finding tells already that a file names code: as such, or since the reader refuses it for that."""
    return found.rule == _NAMED_CODE or found.evidence.get("code") == RemoteCodeRefused.code


def _open(path: Path | Checkpoint, base: Path | Checkpoint | None, folders: Models) -> Checkpoint:
    if base is None and isinstance(path, Path) and is_adapter(path):
        return folders.adapter(path).weights
    return folders.model_on(path, base)


def _listed(opened: Sequence[Checkpoint], folder: Path) -> tuple[str, ...]:
    """Return the weight files of a folder that were read; those of a refused model too, as far as names tell."""
    parts = [part for checkpoint in opened for part in parts_of(checkpoint) if part.root == folder.resolve()]
    if parts:
        return tuple(sorted({info.shard for part in parts for info in part.tensors.values()}))
    return tuple(sorted(path.name for path in folder.glob("*.safetensors")))


def like_base(base: Checkpoint, name: str, checkpoint: Checkpoint, findings: list[Finding]) -> Checkpoint | None:
    """Return a model under the names of its base; None, and a finding, where it does not hold the base's tensors."""
    view = spelled_like(base, checkpoint)
    tensors = {**view.tensors, **base.tensors}
    odd = [
        tensor
        for tensor in sorted(one for one, info in tensors.items() if info.role in ("weight", "statistic"))
        if not _is_there_too(base, view, tensor)
    ]
    if not odd:
        return view
    message = f"{len(odd)} tensors are missing, added or of another shape than in the base, {odd[0]} first"
    findings.append(finding("MB7104", name, message, value=float(len(odd)), threshold=0.0))
    return None


def _is_there_too(base: Checkpoint, view: Checkpoint, tensor: str) -> bool:
    """Whether two models hold a tensor in one shape, or only one does and repeats another of its own."""
    holders = [side for side in (base, view) if tensor in side.tensors]
    if len(holders) == 1:
        return repeats(holders[0], tensor) is not None
    return base.tensors[tensor].shape == view.tensors[tensor].shape


def relate(base: Checkpoint, name: str, checkpoint: Checkpoint, findings: list[Finding]) -> bool:
    """Report a model that is no ordinary fine-tune of the base; False where no table knows the family.

    Where cosines cannot tell, a model that was trained or diluted far is told from a stranger by tests of its weights.
    """
    found = relatives([MergeInput("base", "base", base), MergeInput("expert", name, checkpoint)], None)
    for relative in found:
        if relative.remark is not None:
            said, evidence = relative.remark, {"kind": relative.kind}
            if relative.kind in _UNTOLD:
                with suppress(ProvenanceError):  # a model without MLPs has no more to say
                    p = relate_models(checkpoint, base, _CHEAP).p
                    said += f"; p = {p:.2g} against independent random starts"
                    evidence |= {"p": f"{p:.3g}"}
            findings.append(finding("MB7105", relative.name, said, evidence=evidence))
    fault = None if found else _not_comparable(base, checkpoint)
    if fault is not None:
        findings.append(unseen(name, "", f"its relation to the base: {fault.what}"))
    return bool(found)


def _not_comparable(base: Checkpoint, checkpoint: Checkpoint) -> ArchError | RealignError | None:
    """Return why a model with the tensors of its base is none of the base's family by its configuration."""
    with suppress(ArchError):
        of_base = describe(base)
        try:
            require_same(describe(checkpoint), of_base, where=checkpoint.path)
        except (ArchError, RealignError) as fault:
            return fault
    return None
