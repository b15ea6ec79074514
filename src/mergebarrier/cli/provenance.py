"""``mergebarrier provenance``: evidence about where a model comes from, each figure with its null."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mergebarrier.cli._options import MODEL, download_option, output_options, threads_option
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import parameter_options
from mergebarrier.errors import clean
from mergebarrier.parameters import built, parameters_of
from mergebarrier.provenance import RelateOptions

if TYPE_CHECKING:
    from mergebarrier.api import RelateReport

__all__ = ["command"]

_SMALLEST: Final = 1e-300
_TESTS: Final = {
    "stream": "coordinates of the embeddings",
    "neurons": "neurons, matched",
    "second moment": "neurons, matched without the embeddings",
    "stored": "neurons as stored",
    "numbered": "neurons as numbered, any rotation undone",
}


@click.group()
def command() -> None:
    """Evidence about where a model comes from: tests of weights, with p-values and what they assume."""


@command.command("relate")
@click.argument("first", type=MODEL)
@click.argument("second", type=MODEL)
@parameter_options({"relate": RelateOptions})
@download_option
@threads_option
@output_options
def relate_command(
    first: Path, second: Path, download: bool, threads: int, output: Output, **given: object
) -> None:  # fmt: skip
    """Test whether FIRST and SECOND are related by descent or merge, in whatever coordinates they are written.

    The null is two trainings with independent random starts; it is drawn from the models themselves.
    """
    from mergebarrier.api import provenance_relate

    del threads
    options = built(
        RelateOptions, {name: given[name] for name in parameters_of(RelateOptions) if given[name] is not None}
    )
    with output.progress("comparing layers") as progress:
        report = provenance_relate(first, second, options=options, download=download, progress=progress)
    output.result(report, "\n".join(_lines(report)))


def _lines(report: "RelateReport") -> Iterator[str]:
    names = " and ".join(clean(model.name) for model in report.inputs)
    said = "are related by descent or merge" if report.related else "show no evidence of a common history"
    yield f"{names} {said}: {p_value(report.p)} against independent random starts, {len(report.tests)} tests together"
    if report.stream is not None:
        yield (
            f"  embeddings    {report.embeddings}: coordinates correspond with k4 {report.stream.k4:.1f}, expected "
            f"{report.stream.expected:.1f}, z {report.stream.z:.1f}"
        )
    count = len(report.layers_related)
    yield (
        f"  layers        {count} of {len(report.layers)} related: z of the {report.decided} that decide "
        f"{report.z_sum:.1f} together, after random rotations {report.null_mean:.1f} +- {report.null_sd:.1f}"
    )
    if 0 < count < len(report.layers):
        yield f"                {', '.join(report.layers_related)}"
    yield f"  stored order  {report.stored_order}" + (": nobody re-wrote the layers" if _kept(report) else "")
    yield from (f"    {_TESTS[name]:<42}{p_value(p)}" for name, p in report.tests.items())
    if not report.related and report.rotated_cosine is not None:
        yield (
            f"  a dense rotation would leave a cosine of {report.rotated_cosine:.2f} between held-out rows; unrelated "
            "models of one data set score high too, so this has no p"
        )
    yield f"assumed: {'; '.join(report.assumed)}"
    yield f"not proved: {'; '.join(report.not_proved)}"


def _kept(report: "RelateReport") -> bool:
    return report.stored_order == "equal"


def p_value(p: float) -> str:
    """Return a p-value in words; beyond what a float holds it is a bound."""
    return f"p = {p:.2g}" if p >= _SMALLEST else f"p < {_SMALLEST:g}"
