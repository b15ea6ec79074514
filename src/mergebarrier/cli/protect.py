"""``mergebarrier protect``: write a model that computes the same but merges badly with stock tools."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergebarrier.cli._options import MODEL, WriterOptions, download_option, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import chosen, flag_in, parameter_options
from mergebarrier.errors import UsageError
from mergebarrier.parameters import parameters_of
from mergebarrier.progress import duration
from mergebarrier.protect import PROTECTIONS

if TYPE_CHECKING:
    from mergebarrier.api import ProtectReport
    from mergebarrier.protect import Protection

__all__ = ["command"]


@click.command()
@click.argument("model", type=MODEL)
@click.option("--base", type=MODEL, help="The public base: shows at once how much an attacker can undo with it.")
@click.option(
    "--method",
    shell_complete=lambda context, option, typed: [name for name in PROTECTIONS if name.startswith(typed)],
    metavar=f"[{'|'.join(PROTECTIONS)}]",
    default="exact",
    show_default=True,
    help="Which protection to apply; several are joined by +, such as params+mergelock.",
)
@click.option("--key", "key_path", type=MODEL, metavar="FILE", help="The key of a keyed method; made if absent (0600).")
@click.option("--text", type=MODEL, metavar="FILE", help="Plain text, for --ffn poly to be calibrated on.")
@click.option(
    "--images", type=MODEL, metavar="FILE|DIR", help="Pictures for that: a task file, or a folder of classes."
)
@click.option(
    "--adapter",
    "adapters",
    type=MODEL,
    multiple=True,
    metavar="DIR",
    help="An adapter to move along, to DIR-NAME.",
)
@click.option("--do-not-merge", is_flag=True, help="Ask on card and manifest that nobody merges it.")
@parameter_options(PROTECTIONS)
@download_option
@writer_options
@output_options
def command(
    model: Path,
    base: Path | None,
    method: str,
    key_path: Path | None,
    text: Path | None,
    images: Path | None,
    adapters: tuple[Path, ...],
    do_not_merge: bool,
    download: bool,
    writer: WriterOptions,
    output: Output,
    **parameters: object,
) -> None:
    """Write MODEL in other coordinates: it computes the same, with the same names and shapes, but merges badly.

    The key undoes it (`unprotect`).  The output also names what the protection does not do.
    """
    from mergebarrier.api import plan_protect, protect

    protection = _named(method, parameters)
    if key_path is not None and not protection.keyed:
        raise UsageError(f"{method} has no key", where="--key", remedy="leave --key out")
    if writer.dry_run:
        plan = plan_protect(model, method=protection, base=base, text=text, images=images, download=download)
        output.plan(plan)
        return
    with output.progress("protecting") as progress:
        report = protect(
            model,
            writer.folder,
            method=protection,
            key=key_path,
            base=base,
            text=text,
            images=images,
            adapters=adapters,
            do_not_merge=do_not_merge,
            write=writer.write(),
            download=download,
            progress=progress,
        )
    if report.key_file is not None:
        output.note(f"key {report.key_id} {'made' if report.key_made else 'read'}: {report.key_file}")
    if report.manifest_file is not None:
        output.note(f"copy of the manifest, which belongs to the key: {report.manifest_file}")
    for note in report.notes or ():
        output.note(note)
    output.result(report, "\n".join(_lines(report)))


def _named(method: str, parameters: Mapping[str, object]) -> "Protection":
    """Return what was asked for; an option that several have holds for each, one that none has is refused."""
    if method in PROTECTIONS:
        return PROTECTIONS[method](**chosen(PROTECTIONS, method, parameters))
    from mergebarrier.protect import protection_named

    parts = [name for name in method.split("+") if name in PROTECTIONS]
    given = {field: value for field, value in parameters.items() if value is not None and value != ()}
    values: dict[str, object] = {}
    for name in parts:
        own = {field: value for field, value in given.items() if field in parameters_of(PROTECTIONS[name])}
        values |= chosen(PROTECTIONS, name, own)
    if odd := [field for field in given if field not in values]:
        raise UsageError(f"not an option of {method}", where=flag_in(PROTECTIONS, odd[0]), remedy="leave it out")
    return protection_named(method, values)


def _lines(report: "ProtectReport") -> list[str]:
    lines = [f"{report.out}: protected by {report.method} ({report.variant})"]
    if report.realigned is not None:
        undone, took = report.realigned["undone_pct"], report.realigned["seconds"]
        lines.append(
            f"Realigned to the base without the key: {undone:.1f} % of the change is undone ({duration(took)})."
        )
    lines += [f"{folder}: the adapter, for the protected model" for folder in report.adapters or ()]
    return [*lines, report.limit]
