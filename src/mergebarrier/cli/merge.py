"""``mergebarrier merge``: merge experts of one base, by options or by a recipe, streamed block by block."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mergebarrier.cli._explanation import explanation
from mergebarrier.cli._merge_options import Asked, gathered, hyper_parameters, merge_options, methods, verb_options
from mergebarrier.cli._options import MODEL, WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import CleanseOptions, DeclaredCommand, cleanse_options
from mergebarrier.errors import OutputExists, UsageError
from mergebarrier.merge import DATA_MERGES, make, make_learned

if TYPE_CHECKING:
    from mergebarrier.api import MergeReport, MergeRequest

__all__ = ["command"]

_HEAD_OF_BILL: Final = 4096


@click.command(cls=DeclaredCommand, registry=methods, options=merge_options, title="Methods and their parameters")
@click.argument("models", nargs=-1, required=True, type=MODEL, metavar="MODEL...|CONFIG.yaml")
@verb_options
@cleanse_options
@writer_options(require_out=False)
@output_options
@gathered
def command(
    models: tuple[Path, ...], asked: Asked, cleanse: CleanseOptions, writer: WriterOptions, output: Output
) -> int:
    """Merge MODEL... into a new folder, by options or by the recipe CONFIG.yaml.

    Defaults are those of mergekit 0.1.5, or of the paper for methods that it lacks.

    The output takes names, dtypes, files, configuration and tokenizer from the base (from the first model where the
    method uses none).  Its manifest and model card name every input with its digest, the parameters and the seed.
    MODEL may be an adapter of peft, which is put on the base; --as adapter merges adapters into one.
    """
    from mergebarrier import api

    def tell(note: str) -> None:
        output.note(f"note: {note}")

    request = _request(models, asked, cleanse, writer)
    if asked.values["explain"]:
        explained = api.explain_merge(request)
        for note in explained.notes:
            tell(note)
        output.result(explained, explanation(explained.tensors))
        return 0
    if writer.dry_run:
        planned = api.plan_merge(request, write=writer.write(), tell=tell)
        facts = {**planned.facts, "licence": f"{planned.licence['verdict']}: {planned.licence['reason']}"}
        output.plan(planned, facts)
        return 0
    signer: Path | None = asked.values["sign"]
    if signer is not None:
        api.check_signing(writer.folder, signer)
    bill: Path | None = asked.values["sbom"]
    if bill is not None:
        _check_bill(
            bill, [*models, *filter(None, [asked.values["base"], writer.out])], again=writer.overwrite or writer.resume
        )
    with output.progress("merging") as progress:
        report = api.run_merge(request, writer.folder, write=writer.write(), progress=progress, tell=tell)
    if bill is not None:
        text = api.bill_of_materials(report.out) + "\n"
        bill.unlink(missing_ok=True)
        with bill.open("x", encoding="utf-8") as file:
            file.write(text)
    if signer is not None:
        output.note(f"signed: {api.sign(report.out, signer)}")
    for note in report.equal_inputs:
        tell(note)
    for warning in report.warnings:
        output.note(f"warning: {warning}")
    output.result(report, _sentence(report))
    return 1 if report.suspect else 0


def _check_bill(bill: Path, folders: Sequence[Path], *, again: bool) -> None:
    """Refuse a place that holds something, or where the bill would change a model; ``again`` replaces a bill."""
    if bill.is_symlink() or (bill.exists() and not (again and bill.is_file() and _is_bill(bill))):
        raise OutputExists(
            "is there already", where=bill, remedy="give --sbom another file; --overwrite replaces a bill alone"
        )
    if any(bill.resolve().is_relative_to(folder.resolve()) for folder in folders):
        raise OutputExists("lies inside of a model", where=bill, remedy="give --sbom a file beside it")


def _is_bill(path: Path) -> bool:
    """Say whether a file is a bill, or the empty one that a killed run left."""
    with path.open("rb") as file:
        head = file.read(_HEAD_OF_BILL)
    return not head or b'"bomFormat": "CycloneDX"' in head


def _request(models: tuple[Path, ...], asked: Asked, cleanse: CleanseOptions, writer: WriterOptions) -> "MergeRequest":
    """Sort the words of the command line into one request; what does not go together is refused by its flag."""
    from mergebarrier.api import MergeRequest

    recipe, values = _recipe(models), asked.values
    options = asked.options(writer.seed)
    if recipe is not None:
        cleanse.refuse_any("cannot be combined with a recipe")
        asked.refuse_flags()
        if writer.out is None and not values["explain"]:
            raise UsageError("the output folder is missing", where="-o", remedy="give -o DIR, or --explain")
        return MergeRequest(recipe=recipe, options=options)
    asked.refuse_recipes()
    for option, value in (("--method", values["method"]), ("-o", writer.out)):
        if value is None:
            raise UsageError("is missing", where=option, remedy=f"give {option}")
    base, name = values["base"], values["method"]
    chosen = hyper_parameters(name, asked.parameters, seed=writer.seed, based=base is not None)
    cleanse.check()
    cleanse.refuse_questions()
    if options.adapter is not None or name in DATA_MERGES:
        cleanse.refuse_any("works only for whole models and for methods without training data")
    if name not in DATA_MERGES:
        asked.refuse_learning(name)
    return MergeRequest(
        models=models,
        base=base,
        method=make_learned(name, **chosen) if name in DATA_MERGES else make(name, **chosen),
        data=values["data"],
        options=replace(options, cure=cleanse.cure, tasks=cleanse.tasks, refusals=cleanse.refusals),
    )


def _recipe(models: Sequence[Path]) -> Path | None:
    """Return the recipe that the arguments are; None for models."""
    first = models[0]
    if first.suffix.lower() not in (".yaml", ".yml"):
        return None
    if len(models) > 1:
        remedy = f"mergebarrier merge {first} -o {models[1]}"
        raise UsageError("a recipe takes its output folder by -o", where=models[1], remedy=remedy)
    return first


def _sentence(report: "MergeReport") -> str:
    kind = "adapter" if report.content.get("output_kind") == "adapter" else "expert"
    count = sum(item["role"] == kind for item in report.content["inputs"])
    lost = f", residual {report.content['checks']['residual']:.3g} of the update" if kind == "adapter" else ""
    things = "adapters" if kind == "adapter" else "models"
    return f"{report.out}: {count} {things} merged by {report.content['method']}{lost}, content {report.content_digest}"
