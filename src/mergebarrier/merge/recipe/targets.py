"""Every tensor of the output with the tensors it is merged from.

    models:  the tensors of the donor, each from its namesakes
    slices:  layer k of the output from layer (start + i) of each source; what comes before the layers belongs to the
             first slice, what comes after them to the last
    depth of layer i of n:  i / (n - 1), 1 when n = 1;  0 outside of the layers

Source: mergekit 0.1.5. Differs: models are compared by folder, not by how the recipe spells them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mergebarrier.errors import BadRecipe, TensorSetMismatch, clean
from mergebarrier.merge.configs import COPIED_ROLES, check_shape
from mergebarrier.merge.plan import FittedModels, fitted
from mergebarrier.merge.recipe.layers import belongs_to, counted, embeds, locate, only_stack, owners, stacks, within
from mergebarrier.merge.recipe.schema import STRICT, Allowed, ModelReference, Recipe, RecipeModule, Slice, SliceSource
from mergebarrier.merge.recipe.tensor_plan import Input, Target
from mergebarrier.merge.recipe.vocabulary import is_across

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint


def targets(
    recipe: Recipe,
    opened: "Mapping[ModelReference, Checkpoint]",
    donor: "Checkpoint",
    *,
    ragged: Set[str] = frozenset(),
    allowed: Allowed = STRICT,
) -> list[Target]:
    """List the tensors of the output.

    Args:
      recipe:  parsed.
      opened:  every reference of the recipe, opened; one model may have several.
      donor:   the model whose configuration and layout the output takes.
      ragged:  tensors whose rows need not be equally many yet.
      allowed: what else may differ.
    Raises: BadRecipe (layers out of range, a model twice in one slice), TensorSetMismatch, ShapeMismatch.
    """
    if not recipe.whole and allowed.missing:
        raise BadRecipe("works only with models, not with slices", where="--missing", remedy="leave it out")
    names = list(donor.tensors)
    owner = owners(recipe.modules, names)
    found: list[Target] = []
    for module in recipe.modules:
        mine = [name for name in names if owner(name) is module]
        if module.whole:
            found += _whole(recipe, module, mine, opened, donor)
        else:
            found += _stacked(recipe, module, mine, opened, donor, partial(belongs_to, owner, module))
    for target in found:
        _check_shapes(target, donor, any_rows=target.name in ragged)
    return found


def fitted_models(
    recipe: Recipe, models: "Sequence[Checkpoint]", opened: "Mapping[ModelReference, Checkpoint]", allowed: Allowed
) -> FittedModels:
    """Bring the models of a recipe under the donor's names; those that give a tokenizer alone stay as they are."""
    if allowed.missing and recipe.base is None:
        raise BadRecipe("needs a base to take tensors from", where="--missing", remedy="add base_model to the recipe")
    merged = {id(opened[reference]): opened[reference] for reference in recipe.merged()}
    donor = models[0]
    owner = owners(recipe.modules, list(donor.tensors))

    def whole(name: str) -> bool:
        module = owner(name)
        return module is not None and module.whole

    found = fitted(
        list(merged.values()),
        spare=None if recipe.base is None else opened[recipe.base],
        missing=allowed.missing,
        keep=allowed.keep,
        drop=allowed.drop,
        untie=allowed.untie,
        whole=whole,
    )
    by_id = dict(zip(merged, found.models, strict=True))
    return replace(found, models=tuple(by_id.get(id(model), model) for model in models))


def _check_shapes(target: Target, donor: "Checkpoint", *, any_rows: bool) -> None:
    first = target.inputs[0]
    if first.info.role in COPIED_ROLES or (any_rows and all(is_across(item.info) for item in target.inputs)):
        return
    if first.name in donor.tensors and donor is not first.model:
        check_shape(donor, donor.tensors[first.name], first.model, first.info, any_rows=any_rows)
    for other in target.inputs[1:]:
        check_shape(first.model, first.info, other.model, other.info, any_rows=any_rows)


def _sources(
    recipe: Recipe, module: RecipeModule, part: Slice, opened: "Mapping[ModelReference, Checkpoint]"
) -> tuple[list[SliceSource], int | None]:
    """Sources of a slice and the place of the base; a base that ``models`` does not list joins at the end."""
    base = part.base or recipe.base
    sources = list(part.sources)
    if module.whole and base is not None and all(opened[s.model] is not opened[base] for s in sources):
        sources.append(SliceSource(base))
    models = [opened[source.model] for source in sources]
    for index, model in enumerate(models):
        if any(model is other for other in models[:index]):
            raise BadRecipe(
                "is listed twice in one slice",
                where=sources[index].model.text,
                remedy="list it once, with the sum of its weights",
            )
    place = next((i for i, m in enumerate(models) if base is not None and m is opened[base]), None)
    return sources, place


def _whole(
    recipe: Recipe,
    module: RecipeModule,
    names: Sequence[str],
    opened: "Mapping[ModelReference, Checkpoint]",
    donor: "Checkpoint",
) -> Iterator[Target]:
    part = module.slices[0]
    sources, base = _sources(recipe, module, part, opened)
    models = [opened[source.model] for source in sources]
    layers = stacks(donor.tensors)
    for name in names:
        layer = locate(name)
        depth = 0.0 if layer is None else _depth(layer.layer, layers[layer.stack])
        pairs = list(zip(sources, models, strict=True))
        if name in donor.tensors and donor.tensors[name].role in COPIED_ROLES:
            having = [(source, model) for source, model in pairs if name in model.tensors]
            pairs = sorted(having, key=lambda pair: pair[1] is not donor)
        inputs = [Input(source, model, name) for source, model in pairs]
        place = next((n for n, (source, _) in enumerate(pairs) if base is not None and source is sources[base]), None)
        yield Target(name, module, part, depth, tuple(inputs), place)


def _depth(layer: int, n_layers: int) -> float:
    return layer / (n_layers - 1) if n_layers > 1 else 1.0


def _stacked(
    recipe: Recipe,
    module: RecipeModule,
    mine: Sequence[str],
    opened: "Mapping[ModelReference, Checkpoint]",
    donor: "Checkpoint",
    belongs: Callable[[str], bool],
) -> Iterator[Target]:
    stack, _ = only_stack(mine, donor.config, donor.path)
    outside = [name for name in mine if within(name, stack) is None]
    runs = [(part, *_sources(recipe, module, part, opened)) for part in module.slices]
    for _, sources, _ in runs:
        _check_ranges(sources, opened, stack, belongs)

    def edge(name: str, run: tuple[Slice, list[SliceSource], int | None]) -> Target:
        part, sources, base = run
        return _target(name, module, part, 0.0, sources, opened, [name] * len(sources), base)

    def is_outside(name: str) -> bool:
        return belongs(name) and within(name, stack) is None

    for run in (runs[0], runs[-1]):
        _check_outside(donor, outside, [opened[source.model] for source in run[1]], is_outside)
    for name in outside:
        if embeds(name):
            yield edge(name, runs[0])
    held, layer = _layers([opened[source.model] for _, sources, _ in runs for source in sources], stack), 0
    for part, sources, base in runs:
        models = [opened[source.model] for source in sources]
        starts = [source.layers[0] for source in sources if source.layers is not None]
        length = _length(sources[0])
        for index in range(length):
            layers = [start + index for start in starts]
            parts = [held[id(model)].get(number, []) for model, number in zip(models, layers, strict=True)]
            for word in _same_parts(sources, layers, parts):
                names = [f"{stack}.{number}.{word}" for number in layers]
                name = f"{stack}.{layer}.{word}"
                yield _target(name, module, part, _depth(index, length), sources, opened, names, base)
            layer += 1
    for name in outside:
        if not embeds(name):
            yield edge(name, runs[-1])


def origins(
    module: RecipeModule, opened: "Mapping[ModelReference, Checkpoint]"
) -> "list[list[tuple[Checkpoint, int]]]":
    """Return, per layer of the output of a module in slices, the model and layer that each source gives."""
    found = []
    for part in module.slices:
        starts = [(opened[source.model], source.layers[0]) for source in part.sources if source.layers is not None]
        found += [[(model, start + place) for model, start in starts] for place in range(_length(part.sources[0]))]
    return found


def _length(source: SliceSource) -> int:
    start, stop = source.layers or (0, 0)
    return stop - start


def _target(
    name: str,
    module: RecipeModule,
    part: Slice,
    depth: float,
    sources: Sequence[SliceSource],
    opened: "Mapping[ModelReference, Checkpoint]",
    names: Sequence[str],
    base: int | None,
) -> Target:
    inputs = tuple(Input(s, opened[s.model], theirs) for s, theirs in zip(sources, names, strict=True))
    return Target(name, module, part, depth, inputs, base)


def _check_ranges(
    sources: Sequence[SliceSource],
    opened: "Mapping[ModelReference, Checkpoint]",
    stack: str,
    belongs: Callable[[str], bool],
) -> None:
    for source in sources:
        model = opened[source.model]
        theirs, stored = only_stack(filter(belongs, model.tensors), model.config, source.model.text)
        if theirs != stack:
            what = f"its layers are called {clean(theirs)}, those of the donor {clean(stack)}"
            raise TensorSetMismatch(what, where=source.model.text, remedy="merge models of one family")
        start, stop = source.layers or (0, 0)
        _, n_layers = counted(model.config, stack, stored) or (None, stored)
        if stop > n_layers:
            raise BadRecipe(
                f"layer_range [{start}, {stop}] ends after its {n_layers} layers",
                where=source.model.text,
                remedy=f"end at {n_layers} or before",
            )


def _check_outside(
    donor: "Checkpoint", outside: Sequence[str], models: "Sequence[Checkpoint]", is_outside: Callable[[str], bool]
) -> None:
    ours = dict.fromkeys(outside)
    for model in models:
        theirs = {name: None for name in model.tensors if is_outside(name)}
        odd = next((name for name in [*ours, *theirs] if (name in ours) != (name in theirs)), None)
        if odd is not None:
            lacking = donor if odd in theirs else model
            raise TensorSetMismatch(
                f"{clean(lacking.name)} lacks {clean(odd)}, which the other has",
                where=f"{donor.name} and {model.name}",
                remedy="save all models tied, or all untied, and merge models of one family",
            )


def _layers(models: "Sequence[Checkpoint]", stack: str) -> dict[int, dict[int, list[str]]]:
    """Per model (by identity): layer of one stack -> the parts of its tensors' names behind the number."""
    found: dict[int, dict[int, list[str]]] = {}
    for model in models:
        if id(model) not in found:
            table = found[id(model)] = {}
            for name in model.tensors:
                place = within(name, stack)
                if place is not None:
                    table.setdefault(place.layer, []).append(place.part)
    return found


def _same_parts(sources: Sequence[SliceSource], layers: Sequence[int], parts: Sequence[list[str]]) -> list[str]:
    """Return the names of the tensors of one layer, which must be the same for all sources."""
    for source, layer, theirs in zip(sources, layers, parts, strict=True):
        odd = sorted({*parts[0]} ^ {*theirs})
        if odd or not theirs:
            what = f"layer {layer} holds other tensors than the first source ({clean(odd[0]) if odd else 'none'})"
            raise TensorSetMismatch(what, where=source.model.text, remedy="take layers of one kind")
    return parts[0]
