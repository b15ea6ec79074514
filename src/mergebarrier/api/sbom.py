"""``bill_of_materials``: the lineage of a model for tools that know nothing of us, as one CycloneDX document."""

import json
from typing import TYPE_CHECKING

from mergebarrier import __version__, lineage
from mergebarrier.api.base import Model, opened
from mergebarrier.checkpoint import MANIFEST_NAME, SHA256, Checkpoint, hash_whole, read_manifest

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import AnyContent


def bill_of_materials(model: Model, *, download: bool = False) -> str:
    """Return the bill of materials of a model, in CycloneDX 1.7 as JSON; the same folder gives the same text.

    Args:
      model:    as ``resolve`` reads it.
      download: fetch it if the local cache lacks it.
    Raises: CheckpointError, BadManifest.
    """
    with opened(model, download=download) as (checkpoint,):
        alone = len(checkpoint.folders) == 1  # with an adapter it is another model than its manifest tells of
        written = alone and (checkpoint.root / MANIFEST_NAME).exists()
        content = _with_hashes(read_manifest(checkpoint.root)["content"], checkpoint) if written else None
        document = lineage.bill_of_materials(
            checkpoint.name,
            content,
            licence=lineage.declared(checkpoint).licence,
            version=__version__,
            revision=_revision(checkpoint),
        )
    return json.dumps(document, indent=2)


def _with_hashes(content: "AnyContent", checkpoint: Checkpoint) -> dict[str, object]:
    """Add the SHA-256 of every file that the manifest does not name by it: the one hash that all tools know."""
    files = {
        name: facts if SHA256 in facts else facts | {SHA256: hash_whole(checkpoint.root, name)}
        for name, facts in content["output"]["files"].items()
    }
    return {**content, "output": {**content["output"], "files": files}}


def _revision(checkpoint: Checkpoint) -> str | None:
    """Return the commit of a snapshot in the Hub's cache."""
    parts = checkpoint.path.absolute().parts
    return parts[-1] if len(parts) > 1 and parts[-2] == "snapshots" else None
