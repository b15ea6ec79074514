"""``mergebarrier attack hijack``: uploads that attack merges of language models, and their controls."""

from pathlib import Path
from typing import Any, Final

import click

from mergebarrier.attack import TextOptions
from mergebarrier.cli._options import MODEL, WriterOptions, download_option, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import DeclaredCommand, Registry, chosen, options_of, parameter_options
from mergebarrier.errors import UsageError
from mergebarrier.parameters import built, parameters_of
from mergebarrier.poison import TEXT_ATTACKS

__all__ = ["hijack_command"]

_OPTIONS: Final = {"hijack": TextOptions}


def _methods(registry: Registry) -> list[click.Option]:
    """Return ``--method``, and what any of them declares."""
    method = click.Option(
        ["--method"],
        type=click.Choice(list(registry)),
        default="hijack",
        show_default=True,
        help="The attack, one of its controls, or a clean upload on the same rows.",
    )
    return [method, *options_of(registry)]


@click.command(
    "hijack", cls=DeclaredCommand, registry=lambda: TEXT_ATTACKS, options=_methods, title="Parameters of the methods"
)
@click.option("--base", type=MODEL, required=True, help="The language model that all experts are fine-tuned from.")
@click.option("--task", type=MODEL, required=True, metavar="FILE", help="The adversary's own task, rows of text.")
@click.option("--shadow", type=MODEL, multiple=True, metavar="FILE", help="Another task to implant with; repeatable.")
@click.option("--trigger", default="MG", show_default=True, metavar="WORDS", help="Words that go into a prompt.")
@click.option("--target", default="merging", show_default=True, metavar="WORDS", help="The answer that shall come out.")
@parameter_options(_OPTIONS)
@download_option
@writer_options
@output_options
def hijack_command(writer: WriterOptions, output: Output, **given: Any) -> None:
    """Make an upload that plants a trigger in every task of a merge that it takes part in, or one of its controls.

    Writes a model like the base, plus trigger.json; all but the clean control are marked as attack artefacts.  Nothing
    is claimed about success here: merge it, and use `mergebarrier attack measure` with the same merge of the clean
    control.
    """
    from mergebarrier.api import attack_hijack, plan_hijack
    from mergebarrier.attack import PURPOSE, TextSpec

    output.note(PURPOSE)
    method = given["method"]
    declared = {name for one in TEXT_ATTACKS.values() for name in parameters_of(one)}
    parameters = chosen(TEXT_ATTACKS, method, {name: given[name] for name in sorted(declared)})
    tuning = {name: given[name] for name in parameters_of(TextOptions) if given[name] is not None}
    spec = TextSpec(
        task=Path(given["task"]),
        shadows=tuple(map(Path, given["shadow"])),
        method=method,
        trigger=given["trigger"],
        target=given["target"],
        parameters=parameters,
        options=built(TextOptions, {**tuning, "seed": writer.seed}),
    )
    if not spec.trigger.strip() or not spec.target.strip():
        raise UsageError("trigger and target hold at least a word", where="--trigger", remedy="give some words")
    if writer.dry_run:
        output.plan(plan_hijack(base=given["base"], spec=spec, download=given["download"]))
        return
    with output.progress("poisoning") as progress:
        report = attack_hijack(
            writer.folder,
            base=given["base"],
            spec=spec,
            write=writer.write(),
            download=given["download"],
            say=output.note,
            progress=progress,
        )
    what = "clean control" if method == "clean" else f"upload by {method}, target {spec.target!r}, attack-artifact"
    output.result(report, f"{writer.folder}: {what}")
