"""``mergebarrier protect``: write a model that computes the same but merges badly with stock tools."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
from mergebarrier.cli._parameters import chosen, flag_in, parameter_options
from mergebarrier.errors import UsageError
from mergebarrier.parameters import built, parameters_of
from mergebarrier.progress import duration
from mergebarrier.protect import PROTECTIONS, TRAINED

if TYPE_CHECKING:
    from mergebarrier.api import ProtectReport
    from mergebarrier.protect import Protection, TrainedProtection

__all__ = ["command"]

_METHODS: "Final[Mapping[str, type[Protection | TrainedProtection]]]" = {**PROTECTIONS, **TRAINED}

_TRAINED: Final = ", ".join(TRAINED)


@click.command()
@click.argument("model", type=MODEL)
@click.option("--base", type=MODEL, help="The public base: shows at once how much an attacker can undo with it.")
@click.option(
    "--method",
    shell_complete=lambda context, option, typed: [name for name in _METHODS if name.startswith(typed)],
    metavar=f"[{'|'.join(_METHODS)}]",
    default="exact",
    show_default=True,
    help="Which protection to apply; several are joined by +, such as params+mergelock.",
)
@click.option("--key", "key_path", type=MODEL, metavar="FILE", help="The key of a keyed method; made if absent (0600).")
@click.option("--text", type=MODEL, metavar="FILE", help="Plain text, for --ffn poly to be calibrated on.")
@click.option(
    "--images",
    type=MODEL,
    metavar="FILE|DIR",
    help="Pictures to calibrate --ffn poly on: a task file, or a folder of classes.",
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
@click.option("--data", type=MODEL, metavar="FILE", help="Trained methods: rows of the task, or a task of pictures.")
@click.option("--validation", type=MODEL, metavar="FILE", help="Trained methods: rows held out.  [default: of --data]")
@click.option(
    "--sibling",
    "siblings",
    type=MODEL,
    multiple=True,
    metavar="DIR",
    help="For layered: a public fine-tune of the base, to simulate merges with.",
)
@click.option(
    "--sibling-data",
    type=MODEL,
    multiple=True,
    metavar="FILE",
    help="Rows of each --sibling's task, in their order, for merges to forget too.",
)
@click.option(
    "--as",
    "published_as",
    type=click.Choice(["model", "adapter"]),
    help="Trained methods: publish all weights, or an adapter for peft.  [default: what MODEL is]",
)
@click.option("--device", metavar="auto|cpu|cuda[:N]", help="Trained methods: where to train.  [default: cpu]")
@parameter_options(_METHODS)
@download_option
@shards_option
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
    data: Path | None,
    validation: Path | None,
    siblings: tuple[Path, ...],
    sibling_data: tuple[Path, ...],
    published_as: str | None,
    device: str | None,
    download: bool,
    writer: WriterOptions,
    output: Output,
    **parameters: object,
) -> None:
    """Write MODEL in other coordinates: it computes the same, with the same names and shapes, but merges badly.

    The key undoes it (`unprotect`).  The output also names what the protection does not do.
    """
    from mergebarrier.api import plan_protect, protect

    if method not in TRAINED and (trained := next((name for name in method.split("+") if name in TRAINED), None)):
        raise UsageError(f"{trained} is trained, and joins no other method", where="--method", remedy="name it alone")
    for option, file in (("--text", None if method in TRAINED else text), ("--images", images)):
        if file is not None and parameters.get("ffn") != "poly":
            remedy = "leave it out, or give --method mergebarrier --ffn poly"
            raise UsageError(f"{method} is not calibrated on it", where=option, remedy=remedy)
    if method in TRAINED:
        from mergebarrier.cli import _trained

        given = _trained.GivenTraining(
            data=data, validation=validation, siblings=siblings, sibling_data=sibling_data, form=published_as,
            device=device, text=text, base=base, key=key_path, adapters=adapters, do_not_merge=do_not_merge,
            download=download,
        )  # fmt: skip
        _trained.run(model, built(TRAINED[method], chosen(_METHODS, method, parameters)), given, writer, output)
        return
    _refuse_training(method, {"--data": data, "--validation": validation, "--sibling": siblings,
                              "--sibling-data": sibling_data, "--as": published_as, "--device": device})  # fmt: skip
    protection = _named(method, parameters)
    if key_path is not None and not protection.keyed:
        raise UsageError(f"{method} has no key", where="--key", remedy="leave --key out")
    if writer.dry_run:
        plan = plan_protect(
            model, method=protection, base=base, text=text, images=images, shard_bytes=writer.shard_bytes,
            download=download,
        )  # fmt: skip
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


def _refuse_training(method: str, given: Mapping[str, object]) -> None:
    """Refuse what only a method that is trained has."""
    for option, value in given.items():
        if value:
            raise UsageError(f"{method} is not trained", where=option, remedy=f"leave it out, or name {_TRAINED}")


def _named(method: str, parameters: Mapping[str, object]) -> "Protection":
    """Return what was asked for; an option that several have holds for each, one that none has is refused."""
    if method in PROTECTIONS:
        return PROTECTIONS[method](**chosen(_METHODS, method, parameters))
    from mergebarrier.protect import protection_named

    parts = [name for name in method.split("+") if name in PROTECTIONS]
    given = {field: value for field, value in parameters.items() if value is not None and value != ()}
    values: dict[str, object] = {}
    for name in parts:
        own = {field: value for field, value in given.items() if field in parameters_of(PROTECTIONS[name])}
        values |= chosen(_METHODS, name, own)
    if odd := [field for field in given if field not in values]:
        raise UsageError(f"not an option of {method}", where=flag_in(_METHODS, odd[0]), remedy="leave it out")
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
