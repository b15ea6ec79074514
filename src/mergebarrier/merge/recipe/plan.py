"""A recipe applied to opened models: for every tensor of the output its sources, its method and its dtypes.

    merged = round_out(method(cast(base), cast(expert_1), ..))     cast to ``dtype``, round to ``out_dtype``

All of it is settled before any arithmetic, so that ``--explain`` shows what a run does. Source: mergekit 0.1.5.
Differs: without a base the donor of configuration and files is the first model of the file, not a member of a set.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from mergebarrier.errors import BadMergeParameter, BadRecipe, clean, unique
from mergebarrier.merge.arithmetic import SurveyResult, row_blocks
from mergebarrier.merge.configs import COPIED_ROLES, check_config, donor_notes, is_float, token_notes
from mergebarrier.merge.method import Merge, parameters
from mergebarrier.merge.plan import (
    AVERAGE,
    MergeUnit,
    UnitTensors,
    changes,
    streamed,
    units_of,
)
from mergebarrier.merge.recipe.alignment import Alignment, align
from mergebarrier.merge.recipe.output import config_of, layout_of, small_files
from mergebarrier.merge.recipe.parameters import Given, Resolver
from mergebarrier.merge.recipe.schema import STRICT, Allowed, ModelReference, Recipe
from mergebarrier.merge.recipe.targets import fitted_models, targets
from mergebarrier.merge.recipe.tensor_plan import RecipeView, Target, TensorPlan, cast_to, views
from mergebarrier.merge.recipe.vocabulary import tokens_of, truncated, vocabulary_names, widest
from mergebarrier.merge.registry import DATA_MERGES, MERGES, make

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, OutTensor


_UNSAFE = (
    "{}: cut to the {} rows that all models have, whatever their tokens are; tokenizer: {{source: base}} would not"
)


@dataclass(frozen=True)
class RecipePlan:
    """A recipe ready to run.

    Attributes:
      recipe:  as parsed.
      donor:   the model whose layout, configuration and side files the output takes.
      models:  every model once, the donor first.
      model_names: of ``models``, without a path, unique.
      names:   reference -> the same, as the recipe names them.
      tensors: name -> TensorPlan, in the order of the layout.
      sources: what the executor reads: the n-th input of every tensor as one view.
      units:   the work.
      layout:  of the output.
      config, alignment: of the output, and its vocabulary; None when the donor's holds, byte for byte.
      notes:   warnings for the user, one line each.
      survey:    tensor name -> what a survey of the model says; ``surveyed`` fills it.
      device:  where a dense method decomposes matrices.
    """

    recipe: Recipe
    donor: "Checkpoint"
    models: "tuple[Checkpoint, ...]"
    model_names: tuple[str, ...]
    names: Mapping[ModelReference, str]
    tensors: Mapping[str, TensorPlan]
    sources: tuple[RecipeView, ...]
    units: tuple[MergeUnit, ...]
    layout: "tuple[OutTensor, ...]"
    config: Mapping[str, object] | None
    alignment: Alignment | None
    notes: tuple[str, ...]
    survey_results: Mapping[str, SurveyResult] = field(default_factory=dict)
    device: str = "cpu"

    def surveyed(self) -> "RecipePlan":
        """Return the plan after the method has looked at the whole model, where it must."""
        looked_at = {name: tensor for name, tensor in self.tensors.items() if tensor.method.reads > 1}
        if not looked_at:
            return self
        method = next(iter(looked_at.values())).method
        infos = {name: self.sources[0].tensors[name] for name, tensor in looked_at.items() if not tensor.copied}
        sizes = {name: info.numel for name, info in infos.items() if is_float(info.dtype) and info.numel}

        def read(name: str) -> Iterator[list[Tensor]]:
            for blocks in row_blocks(self.sources, name):
                yield [cast_to(block, self.tensors[name].dtype) for block in blocks]

        return replace(self, survey_results=method.survey(sizes, read, len(self.sources) - 1))

    def change(self, unit: MergeUnit, blocks: Sequence[MutableMapping[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Merge as ``apply`` does, tensor after tensor; a streamed one is read from the sources and comes in rows."""
        return changes(unit, blocks, self.apply, self._in_passes)

    def _in_passes(self, name: str) -> Iterator[Tensor]:
        tensor = self.tensors[name]
        parts = [streamed(view, name, tensor.dtype) for view in self.sources if name in view.tensors]
        base, experts = (parts[0], parts[1:]) if tensor.method.uses_base else (None, parts)
        survey, device = self.survey_results.get(name), self.device
        merged = tensor.method.merge_rows(base, experts, name=name, survey=survey, device=device)
        return (cast_to(rows, tensor.stored) for rows in merged)

    def apply(self, unit: UnitTensors, blocks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Merge the tensors (or row blocks) of one unit; blocks are those of ``sources``, in order."""
        merged = {}
        for name in unit.tensors:
            tensor = self.tensors[name]
            if tensor.copied:
                merged[name] = blocks[0][name]
                continue
            inputs = [cast_to(block[name], tensor.dtype) for block in blocks if name in block]
            base, experts = (inputs[0], inputs[1:]) if tensor.method.uses_base else (None, inputs)
            survey, device = self.survey_results.get(name), self.device
            found = tensor.method.merge(base, experts, name=name, survey=survey, device=device)
            merged[name] = cast_to(found, tensor.stored)
        return merged

    def explain(self) -> list[dict[str, object]]:
        """Return, per tensor, sources with their own parameter values, shared values, need and dtypes."""
        return [self._explain(name, tensor) for name, tensor in self.tensors.items()]

    def effective(self) -> list[dict[str, object]]:
        """Return the tensors grouped by their effective parameters, in the order of first use."""
        groups: dict[Merge, list[str]] = {}
        for name, tensor in self.tensors.items():
            groups.setdefault(tensor.method, []).append(name)
        return [{"parameters": parameters(method), "tensors": names} for method, names in groups.items()]

    def name(self, model: "Checkpoint") -> str:
        """Return the name of a model in manifest and card."""
        return self.model_names[self.models.index(model)]

    def role(self, model: "Checkpoint") -> str:
        """Return what a model is for: "base", "expert", or "donor" of configuration and files alone."""
        for tensor in self.tensors.values():
            for index, item in enumerate(tensor.target.inputs):
                if item.model is model:
                    return "base" if tensor.method.uses_base and index == 0 else "expert"
        return "donor"

    def small_files(self) -> dict[str, bytes]:
        """Return name -> bytes of all side files except card and manifest; BadRecipe for an unknown template."""
        return small_files(self.recipe, self.models, self.config, self.alignment)

    def document(self) -> dict[str, object]:
        """Return the recipe as data, models by name and without a path."""
        return self.recipe.document(lambda reference: self.names[reference])

    def _explain(self, name: str, tensor: TensorPlan) -> dict[str, object]:
        uses_base = tensor.method.uses_base
        sources = []
        for index, item in enumerate(tensor.target.inputs):
            own = {
                word: values[index - uses_base]
                for word, values in tensor.effective.items()
                if isinstance(values, list) and index >= uses_base
            }
            role = "base" if uses_base and index == 0 else "expert"
            model = self.names[item.source.model]
            rows = {"rows": item.rows.picks.summary()} if item.rows is not None else {}
            sources.append({"model": model, "tensor": item.name, "role": role, "parameters": own, **rows})
        shared = {word: value for word, value in tensor.effective.items() if not isinstance(value, list)}
        first = tensor.target.inputs[0]
        return {
            "tensor": name,
            "method": tensor.method.name,
            "need": tensor.method.need if tensor.method.reads == 1 else "global",
            "reads": tensor.method.reads,
            "depth": tensor.target.depth,
            "sources": sources,
            "parameters": shared,
            "effective": parameters(tensor.method),
            "shape": list(first.info.shape),
            "dtype": tensor.dtype or first.info.dtype,
            "stored": tensor.stored,
        }


def plan(
    recipe: Recipe,
    opened: "Mapping[ModelReference, Checkpoint]",
    *,
    seed: int = 0,
    allowed: Allowed = STRICT,
) -> RecipePlan:
    """Lay a recipe over its models and check all of it, before any arithmetic.

    Args:
      recipe:  parsed.
      opened:  every reference of the recipe; references to one folder give one and the same model.
      seed:    for methods that draw, unless the recipe says otherwise.
      allowed: deviations that must be requested explicitly.
    Raises: BadRecipe, BadMergeParameter, TensorSetMismatch, ShapeMismatch, ConfigMismatch.
    """
    if recipe.method in DATA_MERGES:
        raise BadRecipe(
            f"{recipe.method} learns from data, which a recipe does not name",
            where="merge_method",
            remedy="use the flags: MODEL MODEL --method METHOD --data FILE --data FILE",
        )
    if recipe.method not in MERGES:
        make(recipe.method)  # refuses, with the nearest name
    kind = MERGES[recipe.method]
    if kind.need == "circuit":
        raise BadRecipe(
            f"{recipe.method} merges whole models, whose heads meet, and a recipe goes tensor by tensor",
            where="merge_method",
            remedy=f"use the flags: MODEL MODEL --base BASE --method {recipe.method}",
        )
    references = recipe.references()
    donor = opened[references[0]]
    models = tuple({id(opened[reference]): opened[reference] for reference in references}.values())
    resolver = Resolver(recipe, kind, seed)
    if resolver.uses_base and recipe.base is None and any(part.base is None for part in recipe.slices):
        raise BadMergeParameter("needs the base model", where=recipe.method, remedy="add base_model to the recipe")
    notes = [*resolver.notes, *(note for model in models[1:] for note in check_config(donor, model))]
    found = fitted_models(recipe, models, opened, allowed)
    opened = {reference: found.models[models.index(opened[reference])] for reference in references}
    models, donor = found.models, found.models[0]
    alignment = align(recipe.tokenizer, recipe, opened, donor) if recipe.tokenizer is not None else None
    notes += token_notes(models) if alignment is None else alignment.notes
    notes += [*found.notes, *donor_notes(donor, models[1:])]
    ragged = vocabulary_names(donor) if alignment is not None or allowed.truncate else frozenset()
    tensors: dict[str, TensorPlan] = {}
    for target in targets(recipe, opened, donor, ragged=ragged, allowed=allowed):
        target = target.base_first(resolver.uses_base, pair=kind.max_experts == 2)
        if target.name in ragged:
            target = alignment.apply(target) if alignment is not None else truncated(target)
            if alignment is None and any(item.rows is not None for item in target.inputs):
                notes.append(_UNSAFE.format(clean(target.name), tokens_of(target.inputs[0].info)))
        tensors[target.name] = _tensor_plan(recipe, resolver, target, kept=target.name in found.kept)
    _check_survey(recipe, tensors)
    if any(w < 0 for tensor in tensors.values() for w in getattr(tensor.method, "weights", ())):
        notes.append(f"{recipe.method}: a negative weight subtracts a model")
    layout = layout_of(tensors, donor, allowed)
    tensors = {item.name: tensors[item.name] for item in layout}
    sources = views(tensors)
    config, more = config_of(recipe, opened, donor, tensors, alignment)
    model_names = unique([clean(model.name) for model in models])
    return RecipePlan(
        recipe=recipe,
        donor=donor,
        models=models,
        model_names=model_names,
        names={reference: model_names[models.index(opened[reference])] for reference in references},
        tensors=tensors,
        sources=sources,
        units=units_of(
            {name: tensor.method for name, tensor in tensors.items()},
            sources,
            {name for name, tensor in tensors.items() if tensor.copied},
        ),
        layout=layout,
        config=config,
        alignment=alignment,
        notes=tuple(dict.fromkeys([*notes, *more])),
    )


def _tensor_plan(recipe: Recipe, resolver: Resolver, target: Target, *, kept: bool) -> TensorPlan:
    """Return the method of a tensor, with its parameters and dtypes."""
    info = target.inputs[0].info
    copied = kept or info.role in COPIED_ROLES
    experts = target.inputs[1:] if resolver.uses_base else target.inputs
    if info.role == "statistic":
        target = replace(target, inputs=experts, base=None)
        return TensorPlan(target, AVERAGE, {}, *_dtypes(recipe, target))
    method, effective = resolver.method(
        target.name,
        target.depth,
        [Given(item.source, item.name) for item in experts],
        (target.part.parameters, target.module.parameters),
        copied=copied or not is_float(info.dtype),
    )
    if copied:
        return TensorPlan(target, method, effective, None, info.dtype, copied=True)
    return TensorPlan(target, method, effective, *_dtypes(recipe, target))


def _check_survey(recipe: Recipe, tensors: Mapping[str, TensorPlan]) -> None:
    """Refuse other models, or another density, here and there for a method that looks at the whole model."""
    methods = [tensor.method for tensor in tensors.values() if tensor.method.reads > 1]
    selections = {getattr(method, "density", None) for method in methods}
    if methods and (len(selections) > 1 or not recipe.whole):
        what = "scope: model needs models, not slices" if not recipe.whole else "scope: model needs one density for all"
        raise BadMergeParameter(what, where=recipe.method, remedy="leave scope out, or change the recipe")


def _dtypes(recipe: Recipe, target: Target) -> tuple[str | None, str]:
    """Return the dtype to compute from and the stored one: as asked, else wide enough for every input."""
    found = [item.info.dtype for item in target.inputs]
    if not is_float(found[0]):
        return None, found[0]
    wide = widest(found)
    return recipe.dtype or (wide if len(set(found)) > 1 else None), recipe.out_dtype or recipe.dtype or wide
