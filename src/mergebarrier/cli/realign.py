"""``mergebarrier realign``: undo a protection without its key, from the public base."""

from collections.abc import Mapping
from pathlib import Path

import click

from mergebarrier.cli._compute import device_option
from mergebarrier.cli._options import (
    MODEL,
    WriterOptions,
    download_option,
    output_options,
    shards_option,
    writer_options,
)
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import chosen, parameter_options
from mergebarrier.errors import clean
from mergebarrier.parameters import replaced
from mergebarrier.realign import REALIGNMENTS

__all__ = ["command"]

_PURPOSE = "Purpose: audit a protection of your own, or of a model whose licence lets you merge it."


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--base", type=MODEL, help="The public base, or any unprotected relative of MODEL; flip_again needs none."
)
@click.option(
    "--method",
    type=click.Choice(list(REALIGNMENTS)),
    default="gaugefix",
    show_default=True,
    help="; ".join(f"{name}: {method.about}" for name, method in REALIGNMENTS.items()) + ".",
)
@parameter_options(REALIGNMENTS)
@device_option
@download_option
@shards_option
@writer_options
@output_options
def command(
    model: Path,
    base: Path | None,
    method: str,
    device: str,
    download: bool,
    writer: WriterOptions,
    output: Output,
    **parameters: object,
) -> None:
    """Undo a protection without its key: write MODEL in the coordinates of BASE, so that it merges again."""
    from mergebarrier.api import plan_realign, realign

    realignment = replaced(REALIGNMENTS[method], chosen(REALIGNMENTS, method, parameters))
    plan = plan_realign(model, base=base, method=realignment, download=download)
    output.note(_PURPOSE)
    sides = zip(("the model", "the base"), plan.licences, strict=False)
    output.note("licence of " + "; of ".join(f"{side}: {clean(licence)}" for side, licence in sides))
    if writer.dry_run:
        output.result(plan, f"{plan.family}: would write {writer.folder}")
        return
    with output.progress("realigning") as progress:
        report = realign(
            model,
            writer.folder,
            base=base,
            method=realignment,
            device=device,
            write=writer.write(),
            download=download,
            progress=progress,
        )
    for note in report.notes or ():
        output.note(note)
    output.result(report, f"{report.out}: {_sentence(report.diagnostics)}")


def _sentence(diagnostics: Mapping[str, object]) -> str:
    if isinstance(seen := diagnostics.get("seen"), list):
        return f"saw {'; then '.join(seen)}; {_sentence({**diagnostics, 'seen': None})}"
    if "circuits_flipped" in diagnostics:
        return f"flipped {diagnostics['circuits_flipped']} attention circuits back, if that is what was done to them"
    if "neurons_folded" in diagnostics:
        copies = diagnostics.get("copies_of_key_heads", 1)
        heads = "" if copies == 1 else f", and every {copies} key heads into one"
        dead = diagnostics.get("dead_layers", 0)
        layers = f"; took {dead} layers out that add nothing" if dead else ""
        return f"folded {diagnostics['neurons_folded']} neurons per layer into others{heads}{layers}"
    if "networks_inverted" in diagnostics:
        return (
            f"inverted the polynomials of {diagnostics['neurons_inverted']} neurons in "
            f"{diagnostics['networks_inverted']} networks; their shapes fit to {diagnostics['shape_error_max']:.1g}"
        )
    if "networks_taken" in diagnostics:
        return (
            f"took {diagnostics['networks_taken']} networks of the base, whose answers are off by "
            f"{diagnostics['answers_apart']:.1%} (median): what the model learned there is lost"
        )
    if "mean_cosine_after" not in diagnostics:
        return "solved each projection alone; the function is not kept exactly"
    moved = diagnostics["spaces_moved"]
    found = f"undid {', '.join(moved)}" if isinstance(moved, list) and moved else "found nothing to undo"
    before, after = diagnostics["mean_cosine_before"], diagnostics["mean_cosine_after"]
    return f"{found}; cosine to the base {before:.4f} before, {after:.4f} after"
