"""``mergebarrier extract``: what a clone learns from a classifier's answers, and an ensemble that resists."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier.cli._options import (
    MODEL,
    WriterOptions,
    download_option,
    output_options,
    shards_option,
    threads_option,
    writer_options,
)
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import chosen, parameter_options
from mergebarrier.extraction import CopyOptions, ExtractOptions, Misleader
from mergebarrier.parameters import built, parameters_of

if TYPE_CHECKING:
    from rich.table import Table

    from mergebarrier.api import ExtractionReport

__all__ = ["command"]

_CLONE: Final = {"clone": ExtractOptions}
_DEFEND: Final = {"defend": Misleader}
_COPY: Final = {"defend": CopyOptions}
_TASK: Final = click.option("--task", type=MODEL, required=True, help="The victim's task, NAME.task.safetensors.")
_START: Final = click.option("--start", type=MODEL, required=True, help="The encoder that training starts from.")


@click.group()
def command() -> None:
    """Take a classifier by its answers, as an attacker would, and measure defences against that.

    The victim is seen through its probabilities alone, and every picture that it is asked about counts.
    """


@command.command("clone")
@click.argument("victims", type=MODEL, nargs=-1, required=True)
@_TASK
@_START
@click.option(
    "--pool",
    default="train",
    show_default=True,
    metavar="train|noise|FILE",
    help="Pictures that the attacker has.",
)
@parameter_options(_CLONE)
@download_option
@threads_option
@output_options
def clone_command(
    victims: tuple[Path, ...], task: Path, start: Path, pool: str, download: bool, threads: int, output: Output,
    **given: Any,
) -> None:  # fmt: skip
    """Train clones on what VICTIMS answer together, one per attack and defence.

    double_softmax is the released attack on MISLEADER, which takes probabilities for logits; logits is the honest one.
    """
    from mergebarrier.api import extract

    del threads
    options = built(ExtractOptions, chosen(_CLONE, "clone", given))
    with output.progress("cloning") as progress:
        report = extract(
            victims, task=task, start=start, pool=pool, options=options, download=download, progress=progress
        )
    output.result(report, _table(report))


def _table(report: "ExtractionReport") -> "Table":
    from rich.table import Table

    table = Table("defence", "attack", "queries", "victim", "before", "clone", "95 % interval", "agrees", box=None)
    for one in report.clones:
        interval = f"{one.clone.low:.3f} to {one.clone.high:.3f}"
        learned = (f"{report.before.rate:.3f}", f"{one.clone.rate:.3f}", interval, f"{one.fidelity.rate:.3f}")
        table.add_row(one.defence, one.attack, str(one.queries), f"{one.utility.rate:.3f}", *learned)
    return table


@command.command("defend")
@click.argument("teacher", type=MODEL)
@_TASK
@_START
@parameter_options(_COPY)
@parameter_options(_DEFEND)
@download_option
@shards_option
@writer_options
@output_options
def defend_command(
    teacher: Path, task: Path, start: Path, download: bool, writer: WriterOptions, output: Output, **given: Any,
) -> None:  # fmt: skip
    """Train a member of an ensemble in TEACHER's place (MISLEADER); --repulsion 0 gives plain distillation.

    It was found to help against queries of noise, not against pictures of the task: docs/extraction.md has the figures.
    """
    from mergebarrier.api import mislead, plan_mislead
    from mergebarrier.attack import copy_recipe

    copying = {name: given.pop(name) for name in parameters_of(CopyOptions)}
    copy = built(CopyOptions, chosen(_COPY, "defend", copying))
    options = built(Misleader, chosen(_DEFEND, "defend", given))
    recipe = copy_recipe(copy, writer.seed)
    if writer.dry_run:
        output.plan(plan_mislead(teacher, task=task, start=start, options=options, recipe=recipe, download=download))
        return
    with output.progress("training") as progress:
        report = mislead(
            teacher, writer.folder, task=task, start=start, options=options, recipe=recipe, write=writer.write(),
            download=download, progress=progress,
        )  # fmt: skip
    output.result(
        report,
        f"{report.out}: a member that is right on {report.member:.1%} of the test pictures, its teacher on "
        f"{report.teacher:.1%}",
    )
