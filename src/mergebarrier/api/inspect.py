"""``inspect``: what a folder holds, which symmetries it has, and its declared origin.

Reads names, shapes and words, never a weight.  A model without an architecture table can still be merged; why it
cannot be protected is part of the answer.
"""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mergebarrier.api.base import Model, Report, as_given, beside, opened, optional
from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, read_manifest
from mergebarrier.circuits import describe
from mergebarrier.errors import ArchError
from mergebarrier.lineage import declared
from mergebarrier.symmetry import Freedom, freedoms

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import AnyContent, MergeContent, ProtectContent

_SHOWN = ("verb", "method", "parameters", "key_id")
_KINDS = {"rotary": "planes", "gated": "glu", "centred": "centred"}


@dataclass(frozen=True, kw_only=True)
class InspectReport(Report):
    """What a model is and says.

    Attributes:
      path:            as it was given.
      tensors, parameters, bytes, dtypes, files: of the weights.
      code:            file and key of what names code, which is never run; None where nothing does.
      manifest:        what this tool did to it: verb, method, parameters, key id; None for a model of others.
      licence:         identifier, or "unknown".
      do_not_merge:    the words of the owner's wish; None when there is none.
      attack_artifact: marked as made by an attack.
      merge_protected: marked as protected against merging.
      licence_reason:  why the licence is unknown, with the name that the card gives it; None for a known one.
      lineage:         what a merge was made from, its licence and warnings; None for anything else.
      family:          of the architecture; None for one that no table describes.
      not_protectable: why it cannot be protected, where it has no family, or why nothing can be made of it.
      dims, tied, circuits: sizes, and the number of units of work.
      freedoms:        what a protection may change, and who undoes it: axis by axis, with the number of elements.
      next_steps:      commands that make sense now.
    """

    kind: ClassVar[str] = "inspect"

    path: str
    tensors: int
    parameters: int
    bytes: int
    dtypes: Mapping[str, int]
    files: tuple[str, ...]
    manifest: Mapping[str, Any] | None
    licence: str
    do_not_merge: str | None
    attack_artifact: bool
    merge_protected: bool
    lineage: Mapping[str, Any] | None
    family: str | None
    code: tuple[str, ...] | None = optional()
    licence_reason: str | None = optional()
    not_protectable: str | None = optional()
    dims: Mapping[str, int | bool] | None = optional()
    tied: bool | None = optional()
    circuits: int | None = optional()
    freedoms: tuple[Freedom, ...] | None = optional()
    next_steps: tuple[str, ...] = beside(())


def inspect(model: Model, *, download: bool = False) -> InspectReport:
    """Describe a model from its words and shapes.

    Args:
      model:    as ``resolve`` reads it.
      download: fetch it if the local cache lacks it.
    Raises: CheckpointError, BadManifest.
    """
    with opened(model, download=download, any_code=True) as (checkpoint,):
        infos = checkpoint.tensors.values()
        written = (checkpoint.root / MANIFEST_NAME).exists()
        content = read_manifest(checkpoint.root)["content"] if written else None
        said = declared(checkpoint)
        known = _of_architecture(checkpoint)
        code = tuple(f"{name}: {key}" for name, keys in checkpoint.code.items() for key in keys)
        usable = checkpoint.refused is None
        return InspectReport(
            path=as_given(model),
            tensors=len(infos),
            parameters=sum(info.numel for info in infos),
            bytes=sum(info.nbytes for info in infos),
            dtypes=Counter(info.dtype for info in infos),
            files=tuple(shard.name for shard in checkpoint.shards),
            manifest={name: content.get(name) for name in _SHOWN} if content is not None else None,
            licence=said.licence,
            do_not_merge=said.do_not_merge or None,
            attack_artifact=said.attack,
            merge_protected=said.protected,
            lineage=_lineage(content),
            code=code or None,
            licence_reason=said.reason or None,
            **known,
            next_steps=_next_steps(as_given(model), content, protectable=known["family"] is not None) if usable else (),
        )


def _of_architecture(checkpoint: Checkpoint) -> dict[str, Any]:
    if checkpoint.refused is not None:
        return {"family": None, "not_protectable": str(checkpoint.refused)}
    try:
        architecture = describe(checkpoint)
    except ArchError as error:
        # Merging needs no table; saying why protection is closed is the information asked for.
        return {"family": None, "not_protectable": str(error)}
    return {
        "family": architecture.family,
        "dims": {**architecture.dims, **{name: architecture.has(kind) for name, kind in _KINDS.items()}},
        "tied": architecture.tied,
        "circuits": len(architecture.circuits),
        "freedoms": freedoms(architecture),
    }


def _lineage(content: "AnyContent | None") -> dict[str, Any] | None:
    """Return what a merge was made from, from its manifest, without the digests of single tensors."""
    if content is None or content.get("verb") != "merge":
        return None
    merge = cast("MergeContent", content)
    kept = ("role", "name", "licence", "content_digest")
    checks: Mapping[str, Any] = merge.get("checks") or {}
    return {
        "inputs": [{key: item.get(key) for key in kept} for item in merge.get("inputs", ())],
        "licence": merge.get("licence"),
        "suspect": checks.get("suspect", False),
        "warnings": checks.get("warnings", []),
    }


def _next_steps(name: str, content: "AnyContent | None", *, protectable: bool) -> tuple[str, ...]:
    """Return what can be done with such a folder, to be copied; BASE and the like are placeholders for folders."""
    model = shlex.quote(name)
    verb = None if content is None else content.get("verb")
    if verb == "protect":
        audit = "--original ORIGINAL --base BASE --partner PARTNER --task A.jsonl --partner-task B.jsonl -o REPORT"
        asked = cast("ProtectContent", content)["parameters"]
        back: tuple[str, ...] = (f"mergebarrier unprotect {model} -o RESTORED",)
        if asked.get("ffn") == "poly":
            back = (f"mergebarrier realign {model} --method poly_invert -o INVERTED",)
        elif asked.get("reversibility") == "none":
            back = ()  # nothing but the original, which its owner has
        return (
            *back,
            f"mergebarrier verify ORIGINAL {model}",
            f"mergebarrier audit {model} {audit}",
        )
    if verb == "merge":
        return (f"mergebarrier evaluate {model} --task TASK.jsonl", f"mergebarrier scan {model} --base BASE")
    protect = (f"mergebarrier protect {model} -o PROTECTED",) if protectable else ()
    return (
        *protect,
        f"mergebarrier merge {model} OTHER --base BASE --method ties -o MERGED",
        f"mergebarrier scan {model} --base BASE",
    )
