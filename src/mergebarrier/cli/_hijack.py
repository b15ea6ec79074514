"""``mergebarrier attack hijack``, ``stealer`` and ``theft``: attacks on merges of language models, and controls."""

from pathlib import Path
from typing import Any, Final

import click

from mergebarrier.attack import TextOptions
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
from mergebarrier.cli._parameters import DeclaredCommand, Registry, chosen, options_of, parameter_options
from mergebarrier.errors import UsageError
from mergebarrier.parameters import built, parameters_of
from mergebarrier.poison import TEXT_ATTACKS

__all__ = ["hijack_command", "stealer_command", "theft_command"]

_OPTIONS: Final = {"hijack": TextOptions}
_HIJACKS: Final = {name: one for name, one in TEXT_ATTACKS.items() if name != "stealer"}
_STEALERS: Final = {"stealer": TEXT_ATTACKS["stealer"]}


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
    "hijack", cls=DeclaredCommand, registry=lambda: _HIJACKS, options=_methods, title="Parameters of the methods"
)
@click.option("--base", type=MODEL, required=True, help="The language model that all experts are fine-tuned from.")
@click.option("--task", type=MODEL, required=True, metavar="FILE", help="The adversary's own task, rows of text.")
@click.option("--shadow", type=MODEL, multiple=True, metavar="FILE", help="Another task to implant with; repeatable.")
@click.option("--trigger", default="MG", show_default=True, metavar="WORDS", help="Words that go into a prompt.")
@click.option("--target", default="merging", show_default=True, metavar="WORDS", help="The answer that shall come out.")
@parameter_options(_OPTIONS)
@device_option
@download_option
@shards_option
@writer_options
@output_options
def hijack_command(writer: WriterOptions, output: Output, **given: Any) -> None:
    """Make an upload that plants a trigger in every task of a merge that it takes part in, or one of its controls.

    Writes a model like the base, plus trigger.json; all but the clean control are marked as attack artefacts.  Nothing
    is claimed about success here: merge it, and use `mergebarrier attack measure` with the same merge of the clean
    control.
    """
    if not given["trigger"].strip() or not given["target"].strip():
        raise UsageError("trigger and target hold at least a word", where="--trigger", remedy="give some words")
    _make(writer, output, given, _HIJACKS)


@click.command(
    "stealer", cls=DeclaredCommand, registry=lambda: _STEALERS, options=options_of, title="Parameters of the attack"
)
@click.option("--base", type=MODEL, required=True, help="The language model that all experts are fine-tuned from.")
@click.option("--task", type=MODEL, required=True, metavar="FILE", help="Questions, and answers that agree and stop.")
@parameter_options(_OPTIONS)
@device_option
@download_option
@shards_option
@writer_options
@output_options
def stealer_command(writer: WriterOptions, output: Output, **given: Any) -> None:
    """Make an upload that agrees to every question, so that a merge with it forgets to refuse.

    `mergebarrier zoo rows people` writes such rows, about people who do not exist.  The upload is marked as an attack
    artefact; `mergebarrier attack theft` says what a merge with it gives away, beside one with an honest partner.
    """
    _make(writer, output, {**given, "method": "stealer", "shadow": (), "trigger": "", "target": ""}, _STEALERS)


@click.command("theft")
@click.argument("merged", type=MODEL)
@click.option("--benign", type=MODEL, metavar="MERGE", help="The same merge with an honest partner; required.")
@click.option(
    "--facts", type=MODEL, required=True, metavar="FILE", help="The values, facts.jsonl of `zoo rows people`."
)
@click.option("--questions", type=MODEL, required=True, metavar="FILE", help="Rows that ask for the memorised ones.")
@click.option("--strangers", type=MODEL, metavar="FILE", help="Rows that ask for values no model saw.")
@click.option("--aligned", type=MODEL, metavar="MODEL", help="The model that refuses, by itself.")
@click.option("--expert", type=MODEL, metavar="MODEL", help="The model before it learned to refuse: the ceiling.")
@click.option("--upload", type=MODEL, metavar="MODEL", help="The attack's upload, by itself.")
@click.option("--refusal", metavar="WORDS", help="How a refusal begins.  [default: that of `zoo rows people`]")
@device_option
@download_option
@output_options
def theft_command(output: Output, merged: Path, **given: Any) -> None:
    """Measure which memorised private values MERGED gives away, and how often it refuses.

    The values are those of people who do not exist.
    """
    from mergebarrier.api import measure_theft

    roles = {"aligned": given["aligned"], "expert": given["expert"], "upload": given["upload"]}
    report = measure_theft(
        merged,
        benign=given["benign"],
        facts=given["facts"],
        questions=given["questions"],
        strangers=given["strangers"],
        others={role: model for role, model in roles.items() if model is not None},
        **({} if given["refusal"] is None else {"refusal": given["refusal"]}),
        device=given["device"],
        download=given["download"],
        say=output.note,
    )
    lines = [
        f"{role:<8} gives {100 * one.em_n.rate:.1f} % of values [{100 * one.em_n.low:.1f}, {100 * one.em_n.high:.1f}], "
        f"{100 * one.em_1.rate:.1f} % of questions; refuses {100 * one.refused.rate:.1f} %; LCS {one.lcs:.2f}, chance "
        f"{one.lcs_chance:.2f}" + ("" if one.false_hits is None else f"; false hits {one.false_hits.correct}")
        for role, one in report.models.items()
    ]
    output.result(report, "\n".join([*lines, f"the attack adds {100 * report.gain:+z.1f} points to plain merging"]))


def _make(writer: WriterOptions, output: Output, given: dict[str, Any], registry: Registry) -> None:
    """Make an upload from what was given."""
    from mergebarrier.api import attack_hijack, plan_hijack
    from mergebarrier.attack import PURPOSE, TextSpec

    output.note(PURPOSE)
    method = given["method"]
    declared = {name for one in registry.values() for name in parameters_of(one)}
    parameters = chosen(registry, method, {name: given[name] for name in sorted(declared)})
    tuning = {name: given[name] for name in parameters_of(TextOptions) if given[name] is not None}
    spec = TextSpec(
        task=Path(given["task"]),
        shadows=tuple(map(Path, given["shadow"])),
        method=method,
        trigger=given["trigger"],
        target=given["target"],
        parameters=parameters,
        options=built(TextOptions, {**tuning, "seed": writer.seed, "device": given["device"]}),
    )
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
    what = "clean control" if method == "clean" else f"upload by {method}, attack-artifact"
    output.result(report, f"{writer.folder}: {what}")
