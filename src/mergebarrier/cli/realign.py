"""``mergebarrier realign``: undo a protection without its key, from the public base."""

import time
from pathlib import Path

import click

from mergebarrier.cli._models import MODEL, into
from mergebarrier.cli._options import WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output

__all__ = ["command"]

_PURPOSE = "Purpose: audit a protection of your own, or of a model whose licence lets you merge it."


@click.command()
@click.argument("model", type=MODEL)
@click.option("--base", type=MODEL, required=True, help="The public base, or any unprotected relative of MODEL.")
@click.option("--method", type=click.Choice(["gaugefix", "aga", "aga-matched"]), default="gaugefix", show_default=True)
@click.option("--sweeps", type=click.IntRange(1), help="gaugefix: most re-estimations.  [default: 6]")
@writer_options
@output_options
def command(model: Path, base: Path, method: str, sweeps: int | None, writer: WriterOptions, output: Output) -> None:
    """Write MODEL in the coordinates of BASE, so that it merges with the relatives of BASE again.

    gaugefix keeps the function of MODEL exactly; aga is the published attack, which does not.
    """
    from mergebarrier import verbs
    from mergebarrier.checkpoint import open_reference
    from mergebarrier.errors import UsageError
    from mergebarrier.realign import Aga, GaugeFix

    if sweeps is not None and method != "gaugefix":
        raise UsageError(f"not an option of {method}", where="--sweeps", remedy="leave it out")
    realignment = GaugeFix(sweeps or 6) if method == "gaugefix" else Aga(matched=method == "aga-matched")
    output.note(_PURPOSE)
    started = time.perf_counter()
    with open_reference(model) as source, open_reference(base) as anchor:
        output.note("licences: " + "; ".join(verbs.licence(side) for side in (source, anchor)))
        if writer.dry_run:
            plan = verbs.check_realign(source, anchor)
            output.result({"kind": "plan", "method": method, **plan}, f"{plan['family']}: would write {writer.folder}")
            return
        with output.progress("realigning") as progress:
            content, diagnostics = verbs.realign(source, anchor, realignment, into(writer, progress))
    document = {
        "kind": "realign",
        "out": writer.folder,
        "method": method,
        "preserves_function": realignment.preserves_function,
        "seconds": time.perf_counter() - started,
        "content_digest": content["output"]["content_digest"],
        "diagnostics": diagnostics,
    }
    output.result(document, f"{writer.folder}: {_sentence(diagnostics)}")


def _sentence(diagnostics: dict[str, object]) -> str:
    if "mean_cosine_after" not in diagnostics:
        return "solved each projection alone; the function is not kept exactly"
    moved = diagnostics["spaces_moved"]
    found = f"undid {', '.join(moved)}" if isinstance(moved, list) and moved else "found nothing to undo"
    before, after = diagnostics["mean_cosine_before"], diagnostics["mean_cosine_after"]
    return f"{found}; cosine to the base {before:.4f} before, {after:.4f} after"
