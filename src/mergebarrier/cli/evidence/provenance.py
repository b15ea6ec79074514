"""``mergebarrier provenance``: evidence about where a model comes from, each figure with its null."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mergebarrier.cli._options import MODEL, download_option, output_options, threads_option
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import chosen, parameter_options
from mergebarrier.cli.evidence._shared import check_statement, closing, state, statement_options
from mergebarrier.errors import clean
from mergebarrier.parameters import built
from mergebarrier.provenance import ParentsOptions, RelateOptions

if TYPE_CHECKING:
    from mergebarrier.api import ParentsReport, RelateReport

__all__ = ["command"]

_RELATE: Final = {"relate": RelateOptions}
_PARENTS: Final = {"parents": ParentsOptions}
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
@parameter_options(_RELATE)
@statement_options
@download_option
@threads_option
@output_options
def relate_command(
    first: Path, second: Path, page: Path | None, sign: Path | None, download: bool, threads: int, output: Output,
    **given: object,
) -> None:  # fmt: skip
    """Test whether FIRST and SECOND are related by descent or merge, in whatever coordinates they are written.

    The null is two trainings with independent random starts; it is drawn from the models themselves.
    """
    from mergebarrier.api import provenance_relate

    del threads
    check_statement(page, sign)
    options = built(RelateOptions, chosen(_RELATE, "relate", given))
    with output.progress("comparing layers") as progress:
        report = provenance_relate(first, second, options=options, download=download, progress=progress)
    state(report, output, page, sign)
    output.result(report, "\n".join(_lines(report)))


def _lines(report: "RelateReport") -> Iterator[str]:
    (found,) = report.said().findings
    yield f"{clean(found.says)}: {_p(report.p)} against independent random starts, {len(report.tests)} tests together"
    if report.stream is not None:
        yield (
            f"  embeddings    {report.embeddings}: coordinates correspond with k4 {report.stream.k4:.1f}, expected "
            f"{report.stream.expected:.1f}, z {report.stream.z:.1f}"
        )
    count = len(report.layers_related)
    yield (
        f"  layers        {count} of {len(report.layers)} related: z of the {report.decided} that decide "
        f"{report.z_sum:.1f} together, after {report.draws} random rotations {report.null_mean:.1f} +- "
        f"{report.null_sd:.1f} (by count p = {report.counted:.2g})"
    )
    if 0 < count < len(report.layers):
        yield f"                {', '.join(report.layers_related)}"
    yield f"  stored order  {report.stored_order}" + (": neurons stand as they were numbered" if _kept(report) else "")
    yield from (f"    {_TESTS[name]:<42}{_p(p)}" for name, p in report.tests.items())
    if not report.related and report.rotated_cosine is not None:
        yield (
            f"  a dense rotation would leave a cosine of {report.rotated_cosine:.2f} between held-out rows; unrelated "
            "models of one data set score high too, so this has no p"
        )
    yield from closing(report)


def _kept(report: "RelateReport") -> bool:
    return report.stored_order == "equal"


@command.command("parents")
@click.argument("suspect", type=MODEL)
@click.option("--base", type=MODEL, required=True, help="The model that SUSPECT and all candidates were made from.")
@click.option(
    "--candidate", "candidates", type=MODEL, multiple=True, required=True, metavar="DIR",
    help="A model, or an adapter, that may be a parent; give each.",
)  # fmt: skip
@click.option(
    "--null",
    "nulls",
    type=MODEL,
    multiple=True,
    metavar="DIR",
    help="A model of the same base that is known to be none.",
)
@parameter_options(_PARENTS)
@statement_options
@download_option
@threads_option
@output_options
def parents_command(
    suspect: Path, base: Path, candidates: tuple[Path, ...], nulls: tuple[Path, ...], page: Path | None,
    sign: Path | None, download: bool, threads: int, output: Output, **given: object,
) -> None:  # fmt: skip
    """Find what was merged into SUSPECT: the share of every candidate, and the recipe, replayed bit for bit.

    What no candidate explains is shown as a norm; nobody is declared without what an absent candidate would show.
    """
    from mergebarrier.api import provenance_parents

    check_statement(page, sign)
    options = built(ParentsOptions, chosen(_PARENTS, "parents", given))
    with output.progress("reading tensors") as progress:
        report = provenance_parents(
            suspect,
            base=base,
            candidates=candidates,
            nulls=nulls,
            options=options,
            workers=threads,
            download=download,
            progress=progress,
        )
    state(report, output, page, sign)
    output.result(report, "\n".join(_parents_lines(report)))


def _parents_lines(report: "ParentsReport") -> Iterator[str]:
    name = clean(report.inputs[1].name)
    for other in report.realigned:
        yield f"{clean(other)} is written in other coordinates than the base; it was realigned first"
    yield f"{name}, as a change of {clean(report.inputs[0].name)}:"
    for one in report.candidates:
        said = "a reference" if one.reference else "a parent" if one.name in report.declared else "not declared"
        yield (
            f"  {clean(one.name):<24} share {one.share:.3f} ({one.low:.3f} to {one.high:.3f}), an absent one shows "
            f"up to {one.inherited:.3f}, z {one.z:.1f}, {_p(one.adjusted)}: {said}"
        )
    if report.spoilt:
        yield f"  {clean(report.spoilt)} is known to be no parent and shows as much as one: nobody is declared"
    left = report.unexplained
    yield f"  not explained: {left.share:.1%} of the change in norm ({left.norm:.3g} of {left.change_norm:.3g})"
    how = "this recipe is settled" if report.settled else "no recipe is settled; the nearest"
    what = "some random mask gives" if report.recipe.method.startswith("dare") else "its replay gives, bit for bit,"
    yield (
        f"  {how}: {what} {report.same_frac:.2%} of {report.entries:,} sampled entries, "
        f"{report.by_chance_frac:.2%} by chance"
    )
    yield from (f"    {line}" for line in report.recipe_yaml.splitlines())
    yield from closing(report)


def _p(p: float) -> str:
    from mergebarrier.api.base import p_value

    return p_value(p, tail=True)
