"""``mergebarrier inspect``: what a folder holds, which symmetries it has, and what it says about where it came from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._models import MODEL
from mergebarrier.cli._options import output_options
from mergebarrier.cli._output import Output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from mergebarrier.checkpoint import Checkpoint

__all__ = ["command"]


@click.command()
@click.argument("model", type=MODEL)
@output_options
def command(model: Path, output: Output) -> None:
    """Show family, sizes, dtypes, symmetries, signs of protection, licence and lineage of MODEL; reads no weights."""
    from mergebarrier.checkpoint import open_reference

    with open_reference(model) as checkpoint:
        document = {"kind": "inspect", "path": model, **_facts(checkpoint)}
    output.result(document, _table(document))


def _facts(checkpoint: "Checkpoint") -> dict[str, Any]:
    from collections import Counter
    from dataclasses import asdict

    from mergebarrier import verbs
    from mergebarrier.arch import describe
    from mergebarrier.checkpoint import MANIFEST_NAME, read_manifest
    from mergebarrier.errors import ArchError

    infos = checkpoint.tensors.values()
    facts: dict[str, Any] = {
        "tensors": len(infos),
        "parameters": sum(info.numel for info in infos),
        "bytes": sum(info.nbytes for info in infos),
        "dtypes": dict(Counter(info.dtype for info in infos)),
        "files": [shard.name for shard in checkpoint.shards],
    }
    written = (checkpoint.root / MANIFEST_NAME).exists()
    content = read_manifest(checkpoint.path)["content"] if written else {}
    facts["manifest"] = (
        {key: content.get(key) for key in ("verb", "method", "parameters", "key_id")} if content else None
    )
    said = verbs.declared(checkpoint)
    facts |= {"licence": said.licence, "do_not_merge": said.do_not_merge or None}
    facts |= {"attack_artifact": said.attack, "merge_protected": said.protected, "lineage": _lineage(content)}
    try:
        architecture = describe(checkpoint)
    except ArchError as error:
        # Merging needs no table; saying why protection is closed is the information asked for.
        return facts | {"family": None, "not_protectable": str(error)}
    return facts | {
        "family": architecture.family,
        "dims": asdict(architecture.dims),
        "tied": architecture.tied,
        "circuits": len(architecture.circuits),
        "spaces": _spaces(architecture.dims.rotary, architecture.dims.gated, architecture.dims.centred),
    }


def _lineage(content: "Mapping[str, Any]") -> dict[str, Any] | None:
    """Return what a merge was made from, from its manifest, without the digests of single tensors."""
    if content.get("verb") != "merge":
        return None
    kept = ("role", "name", "licence", "content_digest")
    inputs = [{key: item.get(key) for key in kept} for item in content.get("inputs", ())]
    checks = content.get("checks") or {}
    return {
        "inputs": inputs,
        "licence": content.get("licence"),
        "suspect": checks.get("suspect", False),
        "warnings": checks.get("warnings", []),
    }


def _spaces(rotary: bool, gated: bool, centred: bool) -> dict[str, str]:
    """Name the symmetries that a kind of model has."""
    return {
        "query_key": "one complex number per rotary plane and key head" if rotary else "any basis per key head",
        "value_output": "any basis per key head",
        "heads": "order of key heads, and of the query heads of each",
        "neurons": "order and scale" if gated else "order",
        "residual": "order and one global sign" if centred else "order and signs",
    }


def _table(document: dict[str, Any]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from mergebarrier.errors import clean

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in document.items():
        if name in ("kind", "dims", "spaces", "files", "path", "lineage"):
            continue
        table.add_row(
            name, escape(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
        )
    lineage = document["lineage"] or {"inputs": (), "warnings": ()}
    for item in lineage["inputs"]:
        table.add_row("  made from", escape(clean(f"{item['role']} {item['name']} ({item['licence']})")))
    for warning in lineage["warnings"]:
        table.add_row("  warning", escape(clean(warning)))
    for name, value in document.get("dims", {}).items():
        table.add_row(f"  {name}", str(value))
    for name, value in document.get("spaces", {}).items():
        table.add_row(f"symmetry {name}", value)
    return table
