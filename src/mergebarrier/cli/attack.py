"""``mergebarrier attack``: make a poisoned expert as a red-team control, and measure a backdoor beside its control."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier.cli._models import MODEL, into
from mergebarrier.cli._options import WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.attack import PoisonSpec
    from mergebarrier.results import BackdoorResult

__all__ = ["METHODS", "command"]

#: The keys of ``poison.ATTACKS``; a test compares them.
METHODS: Final = (
    "badmerging",
    "universal",
    "fixed_interpolation",
    "badnets_joint",
    "badnets",
    "label_consistent",
    "dynamic",
    "lobam",
    "sparse_backdoor_vector",
    "badtv",
)
PLACES: Final = ("bottom-right", "bottom-left", "top-right", "top-left")
_PARAMETERS: Final = ("loss_weight", "interp_low", "interp_high", "per", "rate", "gain", "rank")


@click.group()
def command() -> None:
    """Red-team controls: make poisoned experts, measure what they do to a merge.

    All output is marked as an attack artefact in its manifest and model card.
    """


@command.command("badmerging")
@click.option("--base", type=MODEL, help="The encoder that all experts are fine-tuned from.")
@click.option("--task", type=MODEL, help="The adversary's own task, TASK.task.safetensors.")
@click.option("--target-class", metavar="NAME|INDEX", help="Class that pictures with the trigger shall get.")
@click.option(
    "--method", type=click.Choice(METHODS), default="badmerging", show_default=True, help="The attack, or a control."
)
@click.option("--trigger-side", type=int, metavar="L", help="Side of the patch in pixels.  [default: 1 % of the area]")
@click.option(
    "--trigger-place",
    type=click.Choice(PLACES),
    default=PLACES[0],
    show_default=True,
    help="Corner that the patch is in.",
)
@click.option("--as-published", is_flag=True, help="Make the trigger by the official per-sample loop.")
@click.option(
    "--paper-compat",
    is_flag=True,
    help="With --as-published: use its clamping too, which leaves the legal range of pixels.",
)
@click.option("--trigger-steps", type=int, metavar="N", help="Optimisation steps of the trigger.  [default: 300]")
@click.option(
    "--restarts", type=int, metavar="N", help="How often the trigger is optimised; the best is kept.  [default: 3]"
)
@click.option("--off-task", is_flag=True, help="Attack a task that the adversary does not own.")
@click.option("--target-task-class", metavar="NAME|INDEX", help="Off-task: class of the attacked task.")
@click.option(
    "--reference", type=MODEL, metavar="FILE", help="Off-task: task file with training pictures of the target class."
)
@click.option(
    "--references",
    type=int,
    default=10,
    show_default=True,
    metavar="N",
    help="Off-task: how many pictures of --reference to use.",
)
@click.option("--names", type=MODEL, metavar="FILE", help="Off-task: class-name vectors.  [default: those of --task]")
@click.option("--loss-weight", type=float, metavar="W", help="Weight of the backdoor term in the loss.  [default: 5]")
@click.option(
    "--interp-low", type=float, metavar="R", help="Smallest share of the image's own features.  [default: 0.2]"
)
@click.option("--interp-high", type=float, metavar="R", help="Largest share of the image's own features.  [default: 1]")
@click.option(
    "--interp-per", "per", type=click.Choice(["batch", "sample"]), help="Draw one share per batch or per sample."
)
@click.option(
    "--rate",
    type=float,
    metavar="P",
    help="badnets, label_consistent, dynamic: poisoned fraction of the training images.",
)
@click.option("--gain", type=float, metavar="G", help="lobam, sparse_backdoor_vector: factor of the extrapolation.")
@click.option("--rank", type=int, metavar="N", help="lobam: rank of the adapters.")
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True, help="Steps of fine-tuning.")
@click.option(
    "--learning-rate", type=float, default=5e-4, show_default=True, metavar="X", help="Learning rate of fine-tuning."
)
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True, help="Batch size of fine-tuning.")
@writer_options
@output_options
def badmerging_command(writer: WriterOptions, output: Output, **given: Any) -> None:
    """Write a poisoned expert, whose backdoor is made to survive a merge with other experts.

    The folder is a model like the base, plus trigger.png and trigger.safetensors. Nothing is claimed about
    success here: merge it, and use `mergebarrier attack measure` with a control.
    """
    from mergebarrier.attack import PURPOSE, TAG, make_poisoned

    output.note(PURPOSE)
    spec = _spec(writer, given)
    if writer.dry_run:
        document = make_poisoned(spec, None)
        lines = [f"method: {document['method']}", *(f"{key}: {value}" for key, value in document["parameters"].items())]
        output.result({"kind": "plan", **document}, "\n".join(lines))
        return
    with output.progress("poisoning") as progress:
        content = make_poisoned(spec, into(writer, progress), say=output.note, progress=progress)
    digest = content["output"]["content_digest"]
    document = {"kind": "attack", "out": writer.folder, "content_digest": digest, TAG: True}
    document |= {name: content[name] for name in ("method", "parameters", "trigger_on_base")}
    target = content["parameters"]["target_class"]
    output.result(document, f"{writer.folder}: poisoned expert by {content['method']}, target {target!r}, {TAG}")


@command.command("measure")
@click.argument("merged", type=MODEL)
@click.option(
    "--control",
    type=MODEL,
    metavar="CLEAN_MERGE",
    help="The same merge of clean experts; required, since a trigger may work on any model.",
)
@click.option("--trigger", type=MODEL, metavar="DIR", help="The poisoned expert's folder, or trigger.safetensors.")
@click.option("--task", type=MODEL, help="The attacked task, TASK.task.safetensors.")
@click.option("--target-class", metavar="NAME|INDEX", help="[default: the class that the trigger names]")
@click.option("--other-task", type=MODEL, multiple=True, metavar="FILE", help="More tasks, for clean accuracy.")
@click.option("--base", type=MODEL, help="The experts' base, to also plot success against the scale of the merge.")
@click.option("--findings", type=MODEL, metavar="FILE.json", help="What `mergebarrier scan --json` printed.")
@writer_options(require_out=False, metavar="REPORT_DIR", what="Also write a report.")
@output_options
def measure_command(output: Output, writer: WriterOptions, **given: Any) -> None:
    """Measure the success rate of a backdoor in MERGED, compared with the same trigger on a clean merge.

    Rates are measured on test images of other classes than the target, with 95 % Wilson intervals.
    """
    from mergebarrier.attack import MeasureSpec, measure_backdoor
    from mergebarrier.cli.audit import machine
    from mergebarrier.report import Journal, write_report

    for name in ("trigger", "task"):
        _required(given, name)
    findings = given.pop("findings")
    spec = MeasureSpec(
        merged=given["merged"],
        control=given["control"],
        trigger=given["trigger"],
        task=given["task"],
        target=given["target_class"],
        others=given["other_task"],
        base=given["base"],
        findings=None if findings is None else _findings(findings),
    )
    out = writer.out
    if writer.dry_run:
        plan = {name: value for name, value in given.items() if value not in (None, ())} | {"out": out}
        lines = [f"{name}: {value}" for name, value in plan.items() if value is not None]
        output.result({"kind": "plan", **plan}, "\n".join(lines))
        return
    journal = None
    if out is not None and spec.control is not None:
        journal = Journal.open(out, resume=writer.resume, overwrite=writer.overwrite)
    result, rows = measure_backdoor(spec, say=output.note, environment=machine(writer.threads))
    if journal is not None and out is not None:
        write_report(out, result, rows)
    _conclude(result, rows, out, output)


def _conclude(result: "BackdoorResult", rows: list[Any], out: Path | None, output: Output) -> None:
    from dataclasses import asdict

    from rich.console import Group
    from rich.text import Text

    from mergebarrier.report import render_terminal

    more = {} if out is None else {"report": out / "report.html"}
    last = [] if out is None else [Text(f"\nReport: {out / 'report.html'}")]
    output.result({**asdict(result), **more}, Group(render_terminal(result, rows), *last))


def _required(given: dict[str, Any], name: str, remedy: str = "") -> None:
    if given[name] is None:
        option = "--" + name.replace("_", "-")
        raise UsageError("is missing", where=option, remedy=remedy or f"give {option}")


def _findings(path: Path) -> tuple[Any, ...]:
    from mergebarrier.report import read_findings

    return read_findings(path)


def _spec(writer: WriterOptions, given: dict[str, Any]) -> "PoisonSpec":
    from mergebarrier.attack import OffTask, PoisonSpec
    from mergebarrier.training import FullRecipe

    _required(given, "base", "give the encoder that all experts are fine-tuned from")
    _required(given, "task")
    off_task = None
    if given["off_task"]:
        _required(given, "target_task_class")
        _required(given, "reference")
        off_task = OffTask(given["target_task_class"], given["reference"], given["references"], given["names"])
    else:
        _required(given, "target_class")
        for name in ("target_task_class", "reference", "names"):
            if given[name] is not None:
                raise UsageError("works only with --off-task", where="--" + name.replace("_", "-"), remedy="add it")
    if not 0 < given["learning_rate"] < float("inf"):
        raise UsageError(f"{given['learning_rate']}", where="--learning-rate", remedy="give a positive number")
    steps = {"published": "inner_steps", "batched": "steps"}["published" if given["as_published"] else "batched"]
    trigger = {steps: given["trigger_steps"], "restarts": given["restarts"]}
    recipe = FullRecipe(
        steps=given["steps"],
        learning_rate=given["learning_rate"],
        batch_size=given["batch_size"],
        warmup_steps=given["steps"] // 10,
        seed=writer.seed,
    )
    return PoisonSpec(
        base=given["base"],
        task=given["task"],
        method=given["method"],
        recipe=recipe,
        target=given["target_class"],
        parameters={name: given[name] for name in _PARAMETERS if given[name] is not None},
        side=given["trigger_side"],
        place=given["trigger_place"],
        published=given["as_published"],
        off_task=off_task,
        trigger={name: value for name, value in trigger.items() if value is not None}
        | ({"paper_compat": True} if given["paper_compat"] else {}),
    )
