"""From a request for a merge to the job that runs it: four forms of request, one form of job.

request -> opened models -> plan -> MergeJob        (verbs.merge runs it, MergeReport says what came out)

recipe                    mergekit's YAML, laid over the models that it names
models, base, method      whole models
... with data           a method that learns; it does so once the inputs are judged
... with adapter        adapters into one more adapter
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from mergebarrier import verbs
from mergebarrier.api.base import Model, cached_folder, find_folder, resolve
from mergebarrier.api.signature import not_covered, verify_signature
from mergebarrier.checkpoint import Checkpoint, is_adapter
from mergebarrier.errors import AdapterRefused, BadRecipe, NotACheckpoint, UsageError, clean, folder_name
from mergebarrier.merge import DATA_MERGES, MERGES, DataMerge, Merge, make, make_learned, parameters, plan
from mergebarrier.merge.adapters import plan_adapters
from mergebarrier.merge.recipe import (
    STRICT,
    AdapterOutput,
    Allowed,
    ModelReference,
    RecipePlan,
    output_of,
    recipe,
)
from mergebarrier.parameters import parameters_of

__all__ = ["MergeOptions", "MergeRequest", "checks_of", "job_of", "plan_of"]


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """What few merges are asked.

    Attributes:
      adapter: write one adapter of this kind, out of adapters.
      samples: rows of each file that a method learns from.
      dtype:   to run models in, "float32", "bfloat16" or "auto"; default float32 to learn, auto to check.
      seed:    of every draw, unless method or recipe say otherwise.
      check:   measure perplexity against every input.
      text:    a file to measure it on, in place of the built-in text.
      acknowledge_licence: merge although a licence or an owner forbids it; recorded.
      allowed: deviations of a recipe that must be requested explicitly.
      cure:    a key of ``scan.cures.CURES``, or of ``scan.cures.language.LANGUAGE_CURES``: cure the merge.
      tasks:   for the cure: the task file of each model.
      refusals: for the cure of that name: questions, each answered as it ought to be refused.
      download: fetch models that the local cache lacks.
      signers: public keys in PEM; each folder that is read must hold against one of them.
      device:  "auto", "cpu", "cuda" or "cuda:N": where a method runs models or decomposes matrices.
    """

    adapter: AdapterOutput | None = None
    samples: int = 256
    dtype: str | None = None
    seed: int = 0
    check: bool = False
    text: str | os.PathLike[str] | None = None
    acknowledge_licence: bool = False
    allowed: Allowed = STRICT
    cure: str | None = None
    tasks: tuple[Path, ...] = ()
    refusals: tuple[Path, ...] = ()
    download: bool = False
    signers: tuple[Path, ...] = ()
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class MergeRequest:
    """One merge, as asked for: a recipe, or models and a method.

    Raises: UsageError for neither and for both.
    """

    models: tuple[Model, ...] = ()
    base: Model | None = None
    method: str | Merge | DataMerge | None = None
    recipe: Path | None = None
    data: tuple[Path, ...] = ()
    options: MergeOptions = MergeOptions()

    def __post_init__(self) -> None:
        """Check that the form is clear."""
        of_flags = {"models": self.models, "base": self.base, "method": self.method, "data": self.data}
        given = [name for name, value in of_flags.items() if value not in (None, ())]
        if self.recipe is not None and given:
            raise UsageError("cannot be combined with a recipe", where=given[0], remedy="set it in the YAML")
        if self.recipe is None and self.method is None:
            raise UsageError("is missing", where="method", remedy="give a method, or a recipe")


def checks_of(options: MergeOptions) -> verbs.Checks:
    """Return what a merge is asked beyond its weights; the text is read."""
    dtype = options.dtype or "auto"
    if options.text is None:
        return verbs.Checks(options.acknowledge_licence, options.check, dtype=dtype)
    from mergebarrier.evaluate import read_text

    return verbs.Checks(options.acknowledge_licence, True, read_text(Path(options.text)), dtype)


def job_of(
    request: MergeRequest, stack: ExitStack, tell: Callable[[str], None], *, max_ram_bytes: int | None = None
) -> verbs.MergeJob:
    """Open the models of a request, plan the merge and return its job; the stack closes what was opened.

    Args:
      request:       what is asked.
      stack:         closes the models.
      tell:          takes what is worth saying, a line each, as soon as it is known.
      max_ram_bytes: what a method that learns may hold.
    Raises: UsageError, BadRecipe, CheckpointError, MergeError.
    """
    options = request.options
    folders = verbs.Models(stack, untie=options.allowed.untie)
    if request.recipe is not None:
        job = _of_recipe(plan_of(request.recipe, options, folders), options)
    else:
        job = _of_models(request, folders, tell, max_ram_bytes)
    if options.signers:
        read = [folder for item in job.inputs for folder in item.checkpoint.folders]
        for folder in dict.fromkeys([*read, *job.beside]):
            verify_signature(folder, *options.signers)
            for name in not_covered(folder):
                tell(f"{folder_name(Path(folder))}/{name} is not covered by its signature")
    for note in job.notes:
        tell(note)
    return replace(job, find=cached_folder)


def _of_models(
    request: MergeRequest, folders: verbs.Models, tell: Callable[[str], None], max_ram_bytes: int | None
) -> verbs.MergeJob:
    options = request.options
    method = _method_of(request)
    if options.adapter is not None:
        return _of_adapters(request, method, options.adapter, folders)
    base, models = _arranged(request, tell, uses_base=method.uses_base)
    anchor = None if request.base is None else folders.model(resolve(request.base, download=options.download))
    opened = None if base is None else folders.model(base)
    experts = [folders.model_on(model, anchor) for model in models]
    if isinstance(method, DataMerge):
        if not request.data:
            raise UsageError(
                f"{method.name} learns from data", where="--data", remedy="give --data FILE once per model"
            )
        learned = verbs.plan_fallback(method, opened, experts)
        dtype, place = options.dtype or "float32", _place(method, options.device)
        calibration = verbs.Calibration(request.data, options.samples, dtype, options.seed, place)
        job = verbs.by_learning(method, learned, calibration, anchor=anchor, max_ram_bytes=max_ram_bytes)
    else:
        allowed = options.allowed
        planned = plan(
            method, opened, experts, missing=allowed.missing, keep=allowed.keep, drop=allowed.drop, untie=allowed.untie
        )
        job = verbs.whole_models(replace(planned, device=_place(method, options.device)), anchor)
        if options.cure is not None:
            from mergebarrier.scan import Search

            tell("the cure is made in memory, from the dev images or the prompts of every task")
            search = Search(seed=options.seed)
            asked = verbs.CureRequest(cure=options.cure, tasks=options.tasks, refusals=options.refusals, search=search)
            job = verbs.cleansed(job, planned, asked)
    return job


def plan_of(path: Path, options: MergeOptions, folders: verbs.Models) -> RecipePlan:
    """Read a recipe, open what it names and lay it over the models."""
    if not path.is_file():
        raise BadRecipe("no such file", where=path, remedy="give the path of a recipe")
    with path.open("rb") as file:
        asked = recipe.parse(file.read(recipe.MAX_RECIPE_BYTES + 1), path)
    opened = {one: _named(one, path, folders, options, asked.base) for one in asked.references()}
    planned = recipe.plan(asked, opened, seed=options.seed, allowed=options.allowed)
    return replace(planned, device=_place(MERGES[asked.method], options.device, output_of(asked.extra)))


def _place(method: Merge | DataMerge | type[Merge], asked: str, adapter: AdapterOutput | None = None) -> str:
    """Return the device of a method that has much to compute; the others, and adapters, keep to the processor."""
    if asked == "cpu":
        return asked
    from mergebarrier.evaluate import device_for

    reads = "" if method.dense else f"{method.name} reads more than it computes"
    return device_for(asked, processor=reads if adapter is None else "adapters are merged by the processor")


def _of_recipe(planned: RecipePlan, options: MergeOptions) -> verbs.MergeJob:
    adapter = output_of(planned.recipe.extra)
    if adapter is not None:
        _refuse_checks(options)
        merged = recipe.adapters_of(planned, adapter)
        job = verbs.by_adapters(merged, verbs.manifest_request(planned))
        return replace(job, notes=(*planned.notes, *job.notes))
    base = planned.recipe.base
    anchor = None if base is None else next(m for m in planned.models if planned.name(m) == planned.names[base])
    return verbs.by_recipe(planned, planned.small_files(), anchor)


def _of_adapters(
    request: MergeRequest, method: Merge | DataMerge, asked: AdapterOutput, folders: verbs.Models
) -> verbs.MergeJob:
    _refuse_checks(request.options)
    _place(method, request.options.device, asked)
    if isinstance(method, DataMerge):
        raise UsageError(
            "needs whole models and cannot merge adapters into an adapter", where=method.name, remedy="leave --as out"
        )
    found = [resolve(model, download=request.options.download) for model in request.models]
    paths = [model.path if isinstance(model, Checkpoint) else model for model in found]
    whole = next((path for path in paths if path.is_dir() and not is_adapter(path)), None)
    if whole is not None:
        raise UsageError("--as adapter needs adapters, and this is a whole model", where=whole, remedy="leave --as out")
    base = None if request.base is None else folders.model(resolve(request.base, download=request.options.download))
    adapters = [folders.adapter(path) for path in paths]
    planned = plan_adapters(adapters, lambda _: method, rank=asked.rank, space=asked.lora_space, base=base)
    return verbs.by_adapters(planned, {"method": method.name, "parameters": parameters(method)})


def _refuse_checks(options: MergeOptions) -> None:
    if options.check or options.text is not None:
        raise UsageError("an adapter alone cannot be run", where="--check", remedy="merge --as model to measure it")


def _method_of(request: MergeRequest) -> Merge | DataMerge:
    """Return the method as it was made, or made by name; it then draws by the seed and uses the base that is there."""
    if isinstance(request.method, Merge | DataMerge):
        return request.method
    assert request.method is not None
    drawn, name = {"seed": request.options.seed}, request.method
    if name in DATA_MERGES:
        return make_learned(name, **(drawn if "seed" in parameters_of(DATA_MERGES[name]) else {}))
    if name not in MERGES:
        return make(name)  # refuses, with the nearest name
    kind = MERGES[name]
    based = {kind.optional_base: request.base is not None} if kind.optional_base else {}
    return make(name, **based, **(drawn if "seed" in parameters_of(kind) else {}))


def _arranged(
    request: MergeRequest, tell: Callable[[str], None], *, uses_base: bool
) -> tuple[Path | Checkpoint | None, Sequence[Path | Checkpoint]]:
    """Give the base its place: a method that uses none takes it, if it is among the models, as the first of them."""
    models = [resolve(model, download=request.options.download) for model in request.models]
    if request.base is None:
        return None, models
    base = resolve(request.base, download=request.options.download)
    among = [model for model in models if _path(model) == _path(base)]
    if uses_base:
        if among:
            where = among[0].path if isinstance(among[0], Checkpoint) else among[0]
            raise UsageError("the base is also among the models", where=where, remedy="list it once, as --base")
        return base, models
    if among:
        return None, [*among, *(model for model in models if _path(model) != _path(base))]
    name = request.method if isinstance(request.method, str) else getattr(request.method, "name", "")
    tell(f"{name} does not use a base; the output takes its files from {_path(models[0]).name}")
    return None, models


def _path(model: Path | Checkpoint) -> Path:
    return (model.path if isinstance(model, Checkpoint) else model).resolve()


def _named(
    reference: ModelReference, path: Path, folders: verbs.Models, options: MergeOptions, base_of: ModelReference | None
) -> Checkpoint:
    """Open what a recipe names: a folder of that literal name, else its parts; an adapter alone is put on the base."""
    where = f"{path}: {clean(reference.text)}"
    literal = Path(reference.text)
    base = literal if literal.is_dir() else _folder(reference.path, reference.revision, where, options)
    if base == literal or reference.lora is None:
        try:
            return folders.model(base)
        except AdapterRefused:
            if base_of in (None, reference):
                raise
            return folders.expert(_named(base_of, path, folders, options, None), base)
    return folders.expert(base, _folder(reference.lora, reference.lora_revision, where, options))


def _folder(name: str, revision: str | None, where: str, options: MergeOptions) -> Path:
    try:
        return find_folder(name, revision, download=options.download)
    except NotACheckpoint as error:
        raise BadRecipe(error.what, where=where, remedy=error.remedy) from error
