"""From the words of a recipe to the fields of a merge method, for one tensor.

    value = the first that is given of: source | slice | module | whole recipe | the method's default

A parameter is called what its declaration says (mergekit's name), else as its field; what holds for the whole recipe,
and all words of a choice that mergekit has as a flag, are under our own key ``mergebarrier``.  Source: mergekit
0.1.5. Differs: a name that no method has is an error, one of another method a note.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mergebarrier.errors import BadMergeParameter, clean
from mergebarrier.merge.method import Merge
from mergebarrier.merge.recipe.schema import OUTPUT_KEYS, Parameters, Recipe, SliceSource, output_of
from mergebarrier.merge.recipe.values import ParameterValue, Scalar, ends, evaluate
from mergebarrier.merge.registry import MERGES, make
from mergebarrier.nearest import did_you_mean
from mergebarrier.parameters import parameters_of

#: Accepted where mergekit accepts it, or did in older releases, without effect here.
WITHOUT_EFFECT: Final = ("int8_mask", "embed_slerp")
#: Keys under ``mergebarrier`` that are kept for what is not built yet.
RESERVED: Final = ("provenance", "policy")
_WORDS = {"true": True, "false": False}


def names_of(kind: type[Merge]) -> dict[str, str]:
    """Return name under ``parameters`` of a recipe -> field of a method; what each model has for itself comes first."""
    declared = parameters_of(kind)
    names = {one.recipe or name: name for name, one in declared.items() if one.recipe or one.gradient}
    return dict(sorted(names.items(), key=lambda item: not declared[item[1]].per_model))


def own_keys(kind: type[Merge]) -> list[str]:
    """Return the fields of a method that a recipe gives under ``mergebarrier``."""
    declared = parameters_of(kind)
    return [name for name, one in declared.items() if (one.words or not one.gradient) and name != kind.optional_base]


@dataclass(frozen=True)
class Given:
    """What one tensor of one model brings: its source in the recipe and its name there."""

    source: SliceSource
    name: str


class Resolver:
    """Effective parameters of every tensor of a recipe.

    Args:
      recipe: parsed.
      kind:   class of the merge method.
      seed:   for methods that draw, unless the recipe gives one.
    Attributes: uses_base, whether the base enters; for methods that may do without it, whether the recipe has one.
    Raises: BadMergeParameter for a name that the method does not have, or that is where it has no meaning.
    """

    def __init__(self, recipe: Recipe, kind: type[Merge], seed: int) -> None:
        """Check every name of the recipe."""
        self.recipe = recipe
        self._fields = {item.name: item for item in dataclasses.fields(kind)}
        self._declared = parameters_of(kind)
        self._names = names_of(kind)
        self._language = {one.recipe for method in MERGES.values() for one in parameters_of(method).values()}
        self._extra = self._check_extra(own_keys(kind))
        if kind.optional_base:
            self._extra[kind.optional_base] = recipe.base is not None
        self.uses_base = bool(self._extra.get(kind.optional_base, kind.uses_base))
        if "seed" in self._fields:
            self._extra.setdefault("seed", seed if recipe.seed is None else recipe.seed)
        self.notes: list[str] = []
        self._check_levels()
        self._made: dict[tuple[int | None, tuple[tuple[str, object], ...]], Merge] = {}

    def _check_extra(self, own: Sequence[str]) -> dict[str, object]:
        output_of(self.recipe.extra)
        given = {name: value for name, value in self.recipe.extra.items() if name not in OUTPUT_KEYS}
        of_others = [key for method in MERGES.values() for key in own_keys(method)]
        keys = list(dict.fromkeys([*of_others, *RESERVED, *OUTPUT_KEYS]))
        for name in given:
            if name in keys and name not in own:
                what = f"mergebarrier.{name} is not built yet, or nothing that {self.recipe.method} has"
                raise BadMergeParameter(what, where=self.recipe.method, remedy="leave it out")
            if name not in keys:
                what = f"unknown key {clean(name)!r} under mergebarrier{did_you_mean(name, keys)}"
                raise BadMergeParameter(what, where=self.recipe.method, remedy=f"choose from {', '.join(keys)}")
        return given

    def _check_levels(self) -> None:
        recipe = self.recipe
        self._check(recipe.parameters, "parameters", own=False)
        for module in recipe.modules:
            self._check(module.parameters, f"modules.{module.name}.parameters", own=False)
        for index, part in enumerate(recipe.slices):
            self._check(part.parameters, f"slices[{index}].parameters", own=False)
            for source in part.sources:
                self._check(source.parameters, f"parameters of {clean(source.model.text)}", own=True)

    def _check(self, parameters: Parameters, where: str, *, own: bool) -> None:
        for name in parameters:
            if name in WITHOUT_EFFECT or (name in self._language and name not in self._names):
                note = f"{name} has no effect on {self.recipe.method}"
                self.notes += [note] if note not in self.notes else []
            elif name not in self._names:
                known = [*self._names, *WITHOUT_EFFECT]
                what = f"{self.recipe.method} has no parameter {clean(name)!r}{did_you_mean(name, known)}"
                top = "write it at the top of the recipe" if name == "random_seed" else ""
                raise BadMergeParameter(what, where=where, remedy=top or f"choose from {', '.join(known)}")
            elif own and not self._per_model(name):
                what = f"{name} holds for all models of a tensor, not for one"
                raise BadMergeParameter(what, where=where, remedy="move it to the parameters of the recipe or slice")
            else:
                self._check_ends(name, parameters[name], where)

    def _check_ends(self, name: str, setting: ParameterValue, where: str) -> None:
        declared = self._declared[self._names[name]]
        for end in ends(setting) if declared.kind in ("number", "numbers") else ():
            try:
                declared.checked((end,) if declared.kind == "numbers" else end)
            except ValueError as fault:
                what = f"{name} goes through {end:g}; give {fault.args[0]}"
                raise BadMergeParameter(what, where=where, remedy="change the ends of the gradient") from None

    def _per_model(self, name: str) -> bool:
        return self._declared[self._names[name]].per_model

    def method(
        self, name: str, depth: float, given: Sequence[Given], levels: Sequence[Parameters], *, copied: bool = False
    ) -> tuple[Merge, dict[str, Scalar | list[Scalar]]]:
        """Build the method for one tensor of the output.

        Args:
          name:   of the output.
          depth:  in its slice, 0 to 1.
          given:  the experts, in order.
          levels: parameters of the slice and of its module.
          copied: the tensor is of integers, equal everywhere, so weights that cancel do no harm.
        Returns: (the method, recipe name -> effective value, or values, one per expert).
        Raises:  BadMergeParameter naming parameter, model and tensor.
        """
        shared = (*levels, self.recipe.parameters)
        effective: dict[str, Scalar | list[Scalar]] = {}
        for word in self._names:
            if self._per_model(word):
                each = [_first(word, (item.source.parameters, *shared), item.name, depth) for item in given]
                if any(value is not None for value in each) or self._declared[self._names[word]].required:
                    effective[word] = self._complete(word, each, given)
            else:
                value = _first(word, shared, name, depth, flag=self._is_flag(word))
                if value is not None:
                    effective[word] = value
        fields = {self._names[word]: self._field_value(word, value, name) for word, value in effective.items()}
        missing = [i for i in self._fields if self._fields[i].default is dataclasses.MISSING and i not in fields]
        if missing:
            where = f"{self.recipe.method}, {name}"
            raise BadMergeParameter(f"{missing[0]} is missing", where=where, remedy=f"give {missing[0]}")
        return self._build({**fields, **self._extra}, name, None if copied else len(given)), effective

    def _is_flag(self, word: str) -> bool:
        declared = self._declared[self._names[word]]
        return declared.kind == "flag" or declared.words is not None

    def _complete(self, word: str, each: Sequence[Scalar | None], given: Sequence[Given]) -> list[Scalar]:
        """Put the method's default where a model has no value of its own, and refuse where there is none."""
        default, required = self._fields[self._names[word]].default, self._declared[self._names[word]].required
        complete: list[Scalar] = []
        for value, item in zip(each, given, strict=True):
            if value is None and not required and isinstance(default, bool | int | float | str):
                value = default
            if value is None:
                where = f"{item.source.model.text}: {item.name}"
                remedy = f"give {word} for every model, and end a list of filters with {{value: ...}}"
                raise BadMergeParameter(f"{word} is missing", where=where, remedy=remedy)
            complete.append(value)
        return complete

    def _field_value(self, word: str, value: Scalar | list[Scalar], tensor: str) -> object:
        declared = self._declared[self._names[word]]
        if declared.per_model and isinstance(value, list):
            if declared.kind == "numbers":
                return tuple(value)
            if any(other != value[0] for other in value[1:]):
                what = f"{word} differs between the models: {value}"
                raise BadMergeParameter(what, where=f"{self.recipe.method}, {tensor}", remedy="give one value for all")
            return value[0]
        if not self._is_flag(word):
            return value
        flag = _WORDS.get(value.lower(), value) if isinstance(value, str) else value
        flag = bool(flag) if flag in (0, 1) else flag
        if declared.words is None or not isinstance(flag, bool):
            return flag
        return declared.words[0 if flag else 1]

    def _build(self, fields: Mapping[str, object], tensor: str, count: int | None) -> Merge:
        """Build a method, once per set of values, and check it for ``count`` experts; None checks no count."""
        key = (count, tuple(sorted(fields.items())))
        if key not in self._made:
            try:
                made = make(self.recipe.method, **fields)
                if count is not None:
                    made.check_count(count)
            except BadMergeParameter as fault:
                where = f"{fault.where}, {tensor}" if fault.where else tensor
                raise BadMergeParameter(fault.what, where=where, remedy=fault.remedy) from None
            self._made[key] = made
        return self._made[key]


def _first(word: str, levels: Sequence[Parameters], tensor: str, depth: float, *, flag: bool = False) -> Scalar | None:
    for parameters in levels:
        if word in parameters:
            value = evaluate(parameters[word], tensor, depth, flag=flag)
            if value is not None:
                return value
    return None
