"""``mergebarrier unprotect``: undo a protection with its key."""

from pathlib import Path

import click

from mergebarrier.cli._options import (
    MODEL,
    WriterOptions,
    download_option,
    output_options,
    shards_option,
    writer_options,
)
from mergebarrier.cli._output import Output
from mergebarrier.errors import clean

__all__ = ["command"]


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--key",
    "key_path",
    type=MODEL,
    metavar="FILE",
    help="The key that `protect` used.  [default: MODEL.mbkey]",
)
@click.option(
    "--manifest",
    "manifest",
    type=MODEL,
    metavar="FILE",
    help="The copy that `protect` kept beside the key.  [default: of MODEL]",
)
@download_option
@shards_option
@writer_options
@output_options
def command(
    model: Path, key_path: Path | None, manifest: Path | None, download: bool, writer: WriterOptions, output: Output
) -> None:
    """Restore the model that MODEL was protected from.

    A lossless protection comes back bit for bit, checked tensor by tensor; a full one within a bound.  Key and manifest
    belong together: what is promised is what the key vouches for, or else what was measured.
    """
    from mergebarrier.api import plan_unprotect, unprotect

    if writer.dry_run:
        plan = plan_unprotect(model, key=key_path, manifest=manifest, download=download)
        output.result(plan, f"{plan.method} with key {plan.key_id}: would restore {plan.restores}")
        return
    with output.progress("restoring") as progress:
        report = unprotect(
            model,
            writer.folder,
            key=key_path,
            manifest=manifest,
            write=writer.write(),
            download=download,
            progress=progress,
        )
    if key_path is None and report.key_file is not None:
        output.note(f"key read: {report.key_file}")
    if report.changed is not None:
        names = ", ".join(map(clean, report.changed))
        output.note(f"not as `protect` wrote them, and copied as they are: {names}; compare them with the original's")
    for note in report.notes or ():
        output.note(note)
    output.result(report, f"{report.out}: restored {report.promise}")
