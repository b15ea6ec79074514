"""``mergebarrier attack``: one command per attack of the registry, and ``measure`` for a backdoor and its control.

The commands are made from what the attacks declare (``poison.ATTACKS``); only what they share is written here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier.attack import AttackOptions
from mergebarrier.cli._compute import device_option
from mergebarrier.cli._hijack import hijack_command, stealer_command, theft_command
from mergebarrier.cli._options import (
    MODEL,
    WriterOptions,
    download_option,
    output_options,
    shards_option,
    writer_options,
)
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import DeclaredCommand, Registry, options_of, parameter_options
from mergebarrier.errors import UsageError
from mergebarrier.nearest import did_you_mean
from mergebarrier.parameters import built, parameters_of
from mergebarrier.poison import ATTACKS, described

if TYPE_CHECKING:
    from mergebarrier.attack import OffTask

__all__ = ["command"]

_Verb = Callable[..., Any]
_OPTIONS: Final = {"attack": AttackOptions}
_INPUTS: Final = (
    click.option("--base", type=MODEL, help="The encoder that all experts are fine-tuned from."),
    click.option("--task", type=MODEL, help="The adversary's own task, TASK.task.safetensors."),
    click.option("--target-class", metavar="NAME|INDEX", help="Class that pictures with the trigger shall get."),
)
#: What only a trigger that is made by optimisation takes.
_UNIVERSAL: Final = ("published", "paper_compat", "trigger_steps", "restarts")
_OFF_TASK: Final = (
    click.option("--off-task", is_flag=True, help="Attack a task that the adversary does not own."),
    click.option("--target-task-class", metavar="NAME|INDEX", help="Off-task: class of the attacked task."),
    click.option("--reference", type=MODEL, metavar="FILE", help="Off-task: task file with training pictures of it."),
    click.option(
        "--references",
        type=int,
        default=10,
        show_default=True,
        metavar="N",
        help="Off-task: pictures of --reference to use.",
    ),
    click.option(
        "--names", type=MODEL, metavar="FILE", help="Off-task: class-name vectors.  [default: those of --task]"
    ),
)
_WRITES: Final = """Writes a poisoned expert: a model like the base, plus trigger.png and trigger.safetensors. Nothing
is claimed about success here: merge it, and use `mergebarrier attack measure` with a control."""


class _Attacks(click.Group):
    """The attacks in the order of the registry, each made when it is asked for, then the commands written by hand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every name."""
        return [*ATTACKS, *(name for name in self.commands if name not in ATTACKS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, made from the registry unless it was written by hand."""
        written = super().get_command(ctx, cmd_name)
        return _command_of(cmd_name) if written is None and cmd_name in ATTACKS else written

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown attack and name the nearest one."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            raise click.UsageError(f"No such attack {args[0]!r}{did_you_mean(args[0], known)}.", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Attacks)
def command() -> None:
    """Red-team controls: make poisoned experts, measure what they do to a merge.

    All output is marked as an attack artefact in its manifest and model card.
    """


def _command_of(name: str, options: Callable[[Registry], list[click.Option]] = options_of) -> click.Command:
    """Return the command of an attack, whose options are those that it declares."""
    attack = ATTACKS[name]

    def verb(writer: WriterOptions, output: Output, method: str = name, **given: Any) -> None:
        _poison(method, writer, output, given)

    decorators = [
        *_INPUTS,
        parameter_options(_OPTIONS, without=() if attack.trigger == "universal" else _UNIVERSAL),
        *(() if attack.own_labels else _OFF_TASK),
        download_option,
        shards_option,
        writer_options,
        output_options,
    ]
    for decorate in reversed(decorators):
        verb = decorate(verb)
    made = click.command(
        name,
        cls=DeclaredCommand,
        registry=lambda: {name: ATTACKS[name]} if options is options_of else ATTACKS,
        options=options,
        title="Parameters of the attack",
        help=f"{described(name)}\n\n{_WRITES}",
    )
    return made(verb)


def _any_method(registry: Registry) -> list[click.Option]:
    """``badmerging`` makes every other attack too, by ``--method``, with the parameters of that one."""
    method = click.Option(
        ["--method"],
        type=click.Choice(list(registry)),
        default="badmerging",
        show_default=True,
        help="Or another attack, which has a command of its own too.",
    )
    return [method, *options_of(registry)]


command.add_command(_command_of("badmerging", _any_method))
for text_command in (hijack_command, stealer_command, theft_command):
    command.add_command(text_command)


def _poison(method: str, writer: WriterOptions, output: Output, given: dict[str, Any]) -> None:
    """Make a poisoned expert from what was given."""
    from mergebarrier.api import attack, plan_attack
    from mergebarrier.attack import PURPOSE

    output.note(PURPOSE)
    _required(given, "base", "give the encoder that all experts are fine-tuned from")
    _required(given, "task")
    declared = {name for one in ATTACKS.values() for name in parameters_of(one)}
    parameters = {name: given[name] for name in sorted(declared & given.keys()) if given[name] is not None}
    inputs = {"base": given["base"], "task": given["task"], "target": given["target_class"]}
    options = _options(writer, given)
    if writer.dry_run:
        plan = plan_attack(method, **inputs, options=options, download=given["download"], **parameters)
        output.plan(plan)
        return
    with output.progress("poisoning") as progress:
        report = attack(
            method, writer.folder, **inputs, options=options, write=writer.write(), download=given["download"],
            say=output.note, progress=progress, **parameters,
        )  # fmt: skip
    target = report.parameters["target_class"]
    output.result(report, f"{writer.folder}: poisoned expert by {method}, target {target!r}, attack-artifact")


def _options(writer: WriterOptions, given: dict[str, Any]) -> AttackOptions:
    off_task = _off_task(given)
    if off_task is None:
        _required(given, "target_class")
    options = {name: given[name] for name in parameters_of(AttackOptions) if given.get(name) is not None}
    return built(AttackOptions, {**options, "seed": writer.seed, "off_task": off_task})


def _off_task(given: dict[str, Any]) -> "OffTask | None":
    """Return whose task is attacked, where it is not the adversary's."""
    from mergebarrier.attack import OffTask

    needed = ("target_task_class", "reference")
    if given.get("off_task"):
        for name in needed:
            _required(given, name)
        return OffTask(
            target_class=given["target_task_class"],
            reference=given["reference"],
            n_references=given["references"],
            names=given["names"],
        )
    for name in (*needed, "names"):
        if given.get(name) is not None:
            raise UsageError("works only with --off-task", where="--" + name.replace("_", "-"), remedy="add it")
    return None


@command.command("measure")
@click.argument("merged", type=MODEL)
@click.option(
    "--control",
    type=MODEL,
    metavar="CLEAN_MERGE",
    help="The same merge of clean experts; required, since a trigger may work on any model.",
)
@click.option("--trigger", type=MODEL, metavar="DIR", help="The poisoned expert's folder, or its trigger file.")
@click.option("--task", type=MODEL, help="The attacked task: TASK.task.safetensors, or rows of text.")
@click.option("--target-class", metavar="NAME|INDEX", help="[default: the class or answer that the trigger names]")
@click.option(
    "--other-task",
    type=MODEL,
    multiple=True,
    metavar="FILE",
    help="More tasks; those of text are asked with the trigger too.",
)
@click.option("--base", type=MODEL, help="The experts' base, to also plot success against the scale of the merge.")
@click.option("--findings", type=MODEL, metavar="FILE.json", help="What `mergebarrier scan --json` printed.")
@device_option
@download_option
@writer_options(require_out=False, metavar="REPORT_DIR", what="Also write a report.")
@output_options
def measure_command(output: Output, writer: WriterOptions, **given: Any) -> None:
    """Measure the success rate of a backdoor in MERGED, compared with the same trigger on a clean merge.

    Rates are measured on test images, or prompts, of other answers than the target, with 95 % Wilson intervals.
    """
    from mergebarrier.api import WriteOptions, measure_backdoor
    from mergebarrier.report import read_findings

    for name in ("trigger", "task"):
        _required(given, name)
    if writer.dry_run:
        shown = {name: fact for name, fact in given.items() if fact not in (None, (), False) and name != "device"}
        output.plan(shown | {"out": writer.out})
        return
    report = measure_backdoor(
        given["merged"],
        control=given["control"],
        trigger=given["trigger"],
        task=given["task"],
        target=given["target_class"],
        others=given["other_task"],
        base=given["base"],
        findings=None if given["findings"] is None else read_findings(given["findings"]),
        out=writer.out,
        write=WriteOptions(resume=writer.resume, overwrite=writer.overwrite, workers=writer.workers),
        threads=writer.threads,
        device=given["device"],
        download=given["download"],
        say=output.note,
    )
    output.result(report, report.terminal())


def _required(given: dict[str, Any], name: str, remedy: str = "") -> None:
    if given[name] is None:
        option = "--" + name.replace("_", "-")
        raise UsageError("is missing", where=option, remedy=remedy or f"give {option}")
