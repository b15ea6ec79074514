"""From the words of a recipe to the fields of a merge method, for one tensor.

    value = the first that is given of: source | slice | module | whole recipe | the method's default

One literal table maps mergekit's names; a name outside it means the field of the same name, so a new method needs no
line here. Source: mergekit 0.1.5. Differs: a name that no method has is an error, one of another method a note.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mergebarrier.errors import BadMergeParameter, clean
from mergebarrier.merge.adapters import OUTPUT_KEYS, output_of
from mergebarrier.merge.method import Merge
from mergebarrier.merge.recipe.schema import Parameters, Recipe, Source
from mergebarrier.merge.recipe.values import Scalar, evaluate
from mergebarrier.nearest import did_you_mean


@dataclass(frozen=True)
class Name:
    """A parameter of the recipe language: the fields that may hold it, and whether each model has a value of its own.

    ``required`` without a default; ``choices`` are the words that a field of another type has for true and false;
    ``methods`` are those that have the name, empty for all with such a field.
    """

    fields: tuple[str, ...]
    per_model: bool = False
    required: bool = False
    choices: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    methods: tuple[str, ...] = ()


NAMES: dict[str, Name] = {
    "normalize_weights": Name(("normalize_weights", "normalize"), methods=("multislerp",)),
    "weight": Name(("weights",), per_model=True, required=True),
    "density": Name(("density", "densities"), per_model=True),
    "gamma": Name(("gamma",), per_model=True),
    "epsilon": Name(("epsilon",), per_model=True),
    "scale": Name(("scale", "scales"), per_model=True),
    "lambda": Name(("coefficient",)),
    "normalize": Name(("normalize", "reduce"), choices={"reduce": ("weighted_mean", "sum")}),
    "rescale": Name(("rescale",), choices={"rescale": ("l1", "none")}),
    "nuslerp_flatten": Name(("nuslerp_flatten", "flatten")),
    "nuslerp_row_wise": Name(("nuslerp_row_wise", "row_wise")),
    "select_topk": Name(("select_topk", "topk")),
}
#: Accepted where mergekit accepts them, without effect there or here: name -> methods, empty for all.
WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "int8_mask": (),
    "density": ("task_arithmetic",),
    "rescale": ("task_arithmetic",),
}
#: Every parameter of mergekit; one that another method has is without effect there and here, and said to be.
LANGUAGE = (*NAMES, "t", "eps", "filter_wise", "int8_mask", "max_iter", "tol", "r", "alpha")
#: What our own key ``mergebarrier`` may hold; all but ``rescale`` are never read from ``parameters``.
OURS = (
    "scope", "elect", "elect_zero", "reduce", "rescale", "arith", "seed", "max_cosine", "provenance", "policy",
    *OUTPUT_KEYS,
)  # fmt: skip
_TASK_VECTORS = "task_vectors"  # field of methods that work on task vectors where there is a base
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Given:
    """What one tensor of one model brings: its source in the recipe and its name there."""

    source: Source
    name: str


class Resolver:
    """Effective parameters of every tensor of a recipe.

    Args:
      recipe: parsed.
      kind:   class of the merge method.
      make:   builds it: ``make(method, **fields)``.
      seed:   for methods that draw, unless the recipe gives one.
    Attributes: uses_base, whether the base enters; for methods that may do without it, whether the recipe has one.
    Raises: BadMergeParameter for a name that the method does not have, or that stands where it has no meaning.
    """

    def __init__(self, recipe: Recipe, kind: type[Merge], make: Any, seed: int) -> None:
        """Check every name of the recipe."""
        self.recipe, self._make = recipe, make
        self._fields = {item.name: item for item in dataclasses.fields(kind)}
        self._names = self._reachable()
        self._extra = self._check_extra()
        if _TASK_VECTORS in self._fields:
            self._extra[_TASK_VECTORS] = recipe.base is not None
        self.uses_base = bool(self._extra.get(_TASK_VECTORS, kind.uses_base))
        if "seed" in self._fields:
            self._extra.setdefault("seed", seed)
        self.notes: list[str] = []
        self._check_levels()
        self._made: dict[tuple[int | None, tuple[tuple[str, Any], ...]], Merge] = {}

    def _reachable(self) -> dict[str, str]:
        """Recipe name -> field of this method; a field has one name."""
        names: dict[str, str] = {}
        for name, entry in NAMES.items():
            free = [item for item in entry.fields if item in self._fields and item not in names.values()]
            meant = not entry.methods or self.recipe.method in entry.methods
            if free and meant and name not in self._ignored():
                names[name] = free[0]
        own = [item for item in self._fields if item not in names.values() and item not in (*OURS, _TASK_VECTORS)]
        return names | {item: item for item in own}

    def _ignored(self) -> list[str]:
        return [name for name, methods in WITHOUT_EFFECT.items() if not methods or self.recipe.method in methods]

    def _check_extra(self) -> dict[str, Any]:
        output_of(self.recipe.extra)
        given = {name: value for name, value in self.recipe.extra.items() if name not in OUTPUT_KEYS}
        for name in given:
            if name in OURS and name not in self._fields:
                what = f"mergebarrier.{name} is not built yet, or nothing that {self.recipe.method} has"
                raise BadMergeParameter(what, where=self.recipe.method, remedy="leave it out")
            if name not in OURS:
                what = f"unknown key {clean(name)!r} under mergebarrier{did_you_mean(name, OURS)}"
                raise BadMergeParameter(what, where=self.recipe.method, remedy=f"choose from {', '.join(OURS)}")
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
            if name in self._ignored() or (name in LANGUAGE and name not in self._names):
                note = f"{name} has no effect on {self.recipe.method}"
                self.notes += [note] if note not in self.notes else []
            elif name not in self._names:
                known = [*self._names, *self._ignored()]
                what = f"{self.recipe.method} has no parameter {clean(name)!r}{did_you_mean(name, known)}"
                raise BadMergeParameter(what, where=where, remedy=f"choose from {', '.join(known)}")
            elif own and not self._per_model(name):
                what = f"{name} holds for all models of a tensor, not for one"
                raise BadMergeParameter(what, where=where, remedy="move it to the parameters of the recipe or slice")

    def _per_model(self, name: str) -> bool:
        return name in NAMES and NAMES[name].per_model

    def method(
        self, name: str, depth: float, given: Sequence[Given], levels: Sequence[Parameters], *, copied: bool = False
    ) -> tuple[Merge, dict[str, Scalar | list[Scalar]]]:
        """Build the method for one tensor of the output.

        Args:
          name:   of the output.
          depth:  in its slice, 0 to 1.
          given:  the experts, in order.
          levels: parameters of the slice and of the module it stands in.
          copied: the tensor is of integers, equal everywhere, so weights that cancel do no harm.
        Returns: (the method, recipe name -> effective value, or values, one per expert).
        Raises:  BadMergeParameter naming parameter, model and tensor.
        """
        shared = (*levels, self.recipe.parameters)
        effective: dict[str, Any] = {}
        for word in self._names:
            if self._per_model(word):
                each = [_first(word, (item.source.parameters, *shared), item.name, depth) for item in given]
                if any(value is not None for value in each) or NAMES[word].required:
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
        return isinstance(self._fields[self._names[word]].default, bool) or bool(word in NAMES and NAMES[word].choices)

    def _complete(self, word: str, each: Sequence[Scalar | None], given: Sequence[Given]) -> list[Scalar]:
        """Put the method's default where a model has no value of its own, and refuse where there is none."""
        default = self._fields[self._names[word]].default
        complete: list[Scalar] = []
        for value, item in zip(each, given, strict=True):
            if value is None and not NAMES[word].required and isinstance(default, bool | int | float | str):
                value = default
            if value is None:
                where = f"{item.source.model.text}: {item.name}"
                raise BadMergeParameter(f"{word} is missing", where=where, remedy=f"give {word} for every model")
            complete.append(value)
        return complete

    def _field_value(self, word: str, value: Any, tensor: str) -> Any:
        target = self._fields[self._names[word]]
        if self._per_model(word):
            if "tuple" in str(target.type):
                return tuple(value)
            if any(other != value[0] for other in value[1:]):
                what = f"{word} differs between the models: {value}"
                raise BadMergeParameter(what, where=f"{self.recipe.method}, {tensor}", remedy="give one value for all")
            return value[0]
        choices = NAMES[word].choices.get(target.name) if word in NAMES else None
        if choices is None and not isinstance(target.default, bool):
            return value
        flag = _WORDS.get(value.lower(), value) if isinstance(value, str) else value
        flag = bool(flag) if flag in (0, 1) else flag
        if choices is None or not isinstance(flag, bool):
            return flag
        return choices[0] if flag else choices[1]

    def _build(self, fields: Mapping[str, Any], tensor: str, count: int | None) -> Merge:
        """Build a method, once per set of values, and check it for ``count`` experts; None checks no count."""
        key = (count, tuple(sorted(fields.items())))
        if key not in self._made:
            try:
                made = self._make(self.recipe.method, **fields)
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
