"""``mergebarrier unprotect``: undo a protection with its key."""

from pathlib import Path

import click

from mergebarrier.cli._models import MODEL, into, read_key
from mergebarrier.cli._options import WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output

__all__ = ["command"]


@click.command()
@click.argument("model", type=MODEL)
@click.option("--key", "key_path", type=MODEL, metavar="FILE", help="The key that `protect` made or was given.")
@writer_options
@output_options
def command(model: Path, key_path: Path | None, writer: WriterOptions, output: Output) -> None:
    """Restore the model that MODEL was protected from.

    A lossless protection comes back bit for bit, checked tensor by tensor; a full one within the bound of its manifest.
    """
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_checkpoint

    with open_checkpoint(model) as source:
        was = verbs.protection_manifest(source)
        exact = was["parameters"]["reversibility"] == "exact"
        promise = "bit for bit" if exact else f"within {was['roundtrip_bound']:.1e} (relative, per tensor)"
        if writer.dry_run:
            plan = {"kind": "plan", "method": was["method"], "key_id": was["key_id"], "restores": promise}
            output.result(plan, f"{was['method']} with key {was['key_id']}: would restore {promise}")
            return
        with output.progress("restoring") as progress:
            content = verbs.unprotect(source, read_key(key_path), into(writer, progress))
    document = {
        "kind": "unprotect",
        "out": writer.folder,
        "method": was["method"],
        "bit_identical": exact,
        "roundtrip_bound": was["roundtrip_bound"],
        "content_digest": content["output"]["content_digest"],
    }
    output.result(document, f"{writer.folder}: restored {promise}")
