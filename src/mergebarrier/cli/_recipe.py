"""``mergebarrier merge CONFIG.yaml``: open the models that a recipe names, explain or run it, write what went in."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergebarrier.cli._adapters import run_adapters
from mergebarrier.cli._lineage import LINEAGE, exit_code, note_findings, show_plan
from mergebarrier.cli._models import into
from mergebarrier.cli._options import WriterOptions
from mergebarrier.cli._output import Output
from mergebarrier.cli._recipe_options import RecipeOptions
from mergebarrier.errors import BadRecipe, NotACheckpoint, UsageError, clean

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.merge.recipe import Recipe, RecipePlan, Reference
    from mergebarrier.verbs import Checks

__all__ = ["is_recipe", "merge_recipe"]

_OPTIONS = {"weights": "--weight", "t": "-t", "lora_space": "--lora-space"}


def is_recipe(models: Sequence[Path]) -> bool:
    """Say whether the arguments of ``merge`` are one recipe instead of models."""
    return len(models) == 1 and models[0].suffix.lower() in (".yaml", ".yml")


def merge_recipe(
    path: Path,
    given: Mapping[str, Any],
    options: RecipeOptions,
    writer: WriterOptions,
    output: Output,
    checks: "Checks",
    *,
    explain: bool,
) -> int:
    """Explain, plan or run a recipe.

    Args:
      path:    the YAML file.
      given:   options of the flag form, none of which may have a value.
      options: of recipes.
      writer:  where and how to write.
      output:  where to say what.
      checks:  what is asked beyond the weights.
      explain: print the effective parameters of every tensor and write nothing.
    """
    from mergebarrier import verbs
    from mergebarrier.merge.adapters import output_of
    from mergebarrier.merge.recipe import recipe as recipes

    for name, value in given.items():
        if value is not None and value != ():
            option = _OPTIONS.get(name, "--" + name.replace("_", "-"))
            raise UsageError("cannot be combined with a recipe", where=option, remedy="set it in the YAML")
    if writer.out is None and not explain:
        raise UsageError("the output folder is missing", where="-o", remedy="give -o DIR, or --explain")
    recipe = recipes.parse(_read(path, recipes.MAX_RECIPE_BYTES), path)
    with ExitStack() as stack:
        opened = _open(recipe, path, stack)
        planned = recipes.plan(
            recipe,
            opened,
            seed=writer.seed if options.random_seed is None else options.random_seed,
            allowed=recipes.Allowed(
                options.unsafe_truncate_embeddings, options.untie, options.missing == "base", options.max_shard_bytes
            ),
        )
        for note in planned.notes:
            output.note(f"note: {note}")
        if explain:
            tensors = planned.explain()
            output.result({"kind": "explanation", "recipe": planned.document(), "tensors": tensors}, _table(tensors))
            return 0
        adapter = output_of(recipe.extra)
        if adapter is not None:
            merged = recipes.adapters_of(planned, adapter)
            return run_adapters(merged, verbs.manifest_request(planned), writer, output, checks)
        anchor = opened[recipe.base] if recipe.base is not None else None
        side_files = recipes.small_files(planned)
        if writer.dry_run:
            return show_plan(_describe(planned), verbs.by_recipe(planned, side_files), checks, output)
        with output.progress("merging") as progress:
            content = verbs.merge(verbs.by_recipe(planned, side_files, anchor), into(writer, progress), checks)
    note_findings(content, output)
    digest = content["output"]["content_digest"]
    document = {"kind": "merge", "out": writer.folder, "notes": planned.notes, "content_digest": digest}
    document |= {name: content[name] for name in ("method", "recipe", "effective", *LINEAGE)}
    human = f"{writer.folder}: {len(planned.models)} models merged by {recipe.method}, content {digest}"
    output.result(document, human)
    return exit_code(content)


def _read(path: Path, max_bytes: int) -> bytes:
    if not path.is_file():
        raise BadRecipe("no such file", where=path, remedy="give the path of a recipe")
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


def _open(recipe: "Recipe", path: Path, stack: ExitStack) -> "dict[Reference, Checkpoint]":
    from mergebarrier.verbs import Models

    models = Models(stack)
    opened: dict[Reference, Checkpoint] = {}
    for reference in recipe.references():
        where = f"{path}: {clean(reference.text)}"
        # A folder whose literal name is all of the reference wins.
        if Path(reference.text).is_dir():
            opened[reference] = models.model(Path(reference.text))
        elif reference.lora is None:
            opened[reference] = models.model(_folder_of(reference.path, reference.revision, where))
        else:
            base = _folder_of(reference.path, reference.revision, where)
            opened[reference] = models.expert(base, _folder_of(reference.lora, reference.lora_revision, where))
    return opened


def _folder_of(name: str, revision: str | None, where: str, *, download: bool = False) -> Path:
    """Return the folder that a model's name means.

    Args:
      name:     a folder, or a name of the hub.
      revision: of a name of the hub.
      where:    named in errors.
      download: fetch what the cache lacks.
    Raises: BadRecipe that says which folders were tried; FetchFailed, MissingExtra.
    """
    from mergebarrier.api.base import find_folder

    try:
        return find_folder(name, revision, download=download)
    except NotACheckpoint as error:
        raise BadRecipe(error.what, where=where, remedy=error.remedy) from error


def _table(tensors: Sequence[Mapping[str, Any]]) -> str:
    """One line per tensor, one per source of it, and one with every parameter, given or not."""
    lines = []
    for tensor in tensors:
        lines.append(
            f"{clean(tensor['tensor'])}: {tensor['method']}{_words(tensor['parameters'])}"
            f" depth={tensor['depth']:.4g} {tensor['dtype']} -> {tensor['stored']}"
        )
        for source in tensor["sources"]:
            theirs = f" {clean(source['tensor'])}" if source["tensor"] != tensor["tensor"] else ""
            rows = " ".join(f"{count} {word}" for word, count in source.get("rows", {}).items())
            told = f" rows: {rows}" if rows else ""
            lines.append(f"  {source['role']} {source['model']}{theirs}{_words(source['parameters'])}{told}")
        lines.append(f"  all:{_words(tensor['effective'])} need={tensor['need']} reads={tensor['reads']}")
    return "\n".join(lines)


def _words(parameters: Mapping[str, Any]) -> str:
    return "".join(
        f" {name}={value:.6g}" if isinstance(value, float) else f" {name}={value}" for name, value in parameters.items()
    )


def _describe(planned: "RecipePlan") -> dict[str, Any]:
    return {
        "method": planned.recipe.method,
        "recipe": planned.document(),
        "sources": [planned.names[reference] for reference in planned.recipe.references()],
        "tensors": len(planned.layout),
        "units": len(planned.units),
        "bytes_read": sum(info.nbytes for view in planned.sources for info in view.tensors.values()),
        "bytes_written": sum(tensor.nbytes for tensor in planned.layout),
        "files": list(dict.fromkeys(tensor.shard for tensor in planned.layout)),
    }
