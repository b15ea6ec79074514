"""``mergebarrier merge``: merge experts of one base, streamed block by block, with what went in written beside it."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mergebarrier.cli._adapters import adapter_options, merge_adapters
from mergebarrier.cli._cleanse import CleanseOptions, cleanse_options
from mergebarrier.cli._learned import DataOptions, data_options, merge_learned
from mergebarrier.cli._lineage import LINEAGE, checks_from, exit_code, lineage_options, note_findings, show_plan
from mergebarrier.cli._merge_options import hyper_parameters, merge_options, methods
from mergebarrier.cli._models import MODEL, arrange, into, open_model
from mergebarrier.cli._options import WriterOptions, output_options, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.cli._parameters import DeclaredCommand
from mergebarrier.cli._recipe import is_recipe, merge_recipe
from mergebarrier.cli._recipe_options import RecipeOptions, recipe_options
from mergebarrier.errors import UsageError
from mergebarrier.merge import DATA_MERGES

if TYPE_CHECKING:
    from mergebarrier.merge import Plan

__all__ = ["command"]


@click.command(cls=DeclaredCommand, registry=methods, options=merge_options, title="Methods and their parameters")
@click.argument("models", nargs=-1, required=True, type=MODEL, metavar="MODEL...|CONFIG.yaml")
@click.option("--base", type=MODEL, help="The model that the experts were fine-tuned from.")
@data_options
@cleanse_options
@adapter_options
@click.option("--explain", is_flag=True, help="Recipes: print the parameters of every tensor and write nothing.")
@recipe_options
@writer_options(require_out=False)
@lineage_options
@output_options
def command(
    models: tuple[Path, ...],
    base: Path | None,
    method: str | None,
    explain: bool,
    learning: DataOptions,
    cleanse: CleanseOptions,
    recipe: RecipeOptions,
    written: dict[str, Any],
    writer: WriterOptions,
    output: Output,
    checks: tuple[bool, bool, Path | None],
    **parameters: Any,
) -> int:
    """Merge MODEL... into a new folder, by options or by the recipe CONFIG.yaml.

    Defaults are those of mergekit 0.1.5, or of the paper for methods that it lacks.

    The output takes names, dtypes, files, configuration and tokenizer from the base (from the first model where the
    method uses none).  Its manifest and model card name every input with its digest, the parameters and the seed.
    MODEL may be an adapter of peft, which is put on the base; --as adapter merges adapters into one.
    """
    from mergebarrier import verbs
    from mergebarrier.merge import make, plan
    from mergebarrier.merge.adapters import output_of
    from mergebarrier.scan import Search

    asked, adapted = checks_from(checks, learning.dtype), base
    if is_recipe(models):
        cleanse.refuse_any("cannot be combined with a recipe")
        given = {"base": base, "method": method, **learning.unused(runs=asked.runs), **written, **parameters}
        return merge_recipe(models[0], given, recipe, writer, output, asked, explain=explain)
    recipe.refuse_any()
    if method is None or writer.out is None or explain:
        option = "--explain" if explain else "--method" if method is None else "-o"
        remedy = "give a recipe, CONFIG.yaml" if explain else f"give {option}"
        raise UsageError("works only with a recipe" if explain else "is missing", where=option, remedy=remedy)
    chosen = hyper_parameters(method, parameters, seed=writer.seed, based=base is not None)
    adapter = output_of(written)
    cleanse.check()
    if adapter is not None or method in DATA_MERGES:
        cleanse.refuse_any("works only for whole models and for methods without training data")
    if adapter is not None:
        return merge_adapters(method, chosen, base, models, adapter, writer, output, asked)
    if method in DATA_MERGES:
        return merge_learned(method, chosen, base, models, learning, writer, output, asked)
    learning.refuse(method, runs=asked.runs)
    merge = make(method, **chosen)
    base, models = arrange(merge.name, base, models, output, uses_base=merge.uses_base)
    with ExitStack() as stack:
        folders = verbs.Models(stack)
        opened = folders.model(base) if base is not None else None
        beside = folders.model(adapted) if adapted is not None else None
        experts = [open_model(folders, model, adapted) for model in models]
        planned = plan(merge, opened, experts)
        for note in planned.notes:
            output.note(f"note: {note}")
        if writer.dry_run:
            return show_plan(_describe(planned), verbs.whole_models(planned), asked, output)
        job = verbs.whole_models(planned, beside)
        if cleanse.cure is not None:
            output.note("note: the cure is an optimisation in memory on the dev images of every task")
            job = verbs.cleansed(job, planned, cleanse.cure, cleanse.tasks, Search(seed=writer.seed))
        with output.progress("merging") as progress:
            content = verbs.merge(job, into(writer, progress), asked)
    note_findings(content, output)
    digest = content["output"]["content_digest"]
    document = {"kind": "merge", "out": writer.folder, "notes": planned.notes, "content_digest": digest}
    document |= {name: content[name] for name in ("method", "parameters", *LINEAGE)}
    document |= {"cleanse": content["cleanse"]} if "cleanse" in content else {}
    output.result(document, f"{writer.folder}: {len(models)} models merged by {method}, content {digest}")
    return exit_code(content)


def _describe(planned: "Plan") -> dict[str, Any]:
    from mergebarrier.merge import parameters

    tensors = planned.donor.tensors.values()
    return {
        "method": planned.method.name,
        "parameters": parameters(planned.method),
        "sources": [source.path.name for source in planned.sources],
        "need": planned.method.need,
        "tensors": len(tensors),
        "units": len(planned.units),
        "bytes_read": sum(info.nbytes for source in planned.sources for info in source.tensors.values()),
        "bytes_written": sum(info.nbytes for info in tensors),
        "files": [shard.name for shard in planned.donor.shards],
    }
