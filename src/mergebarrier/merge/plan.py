"""What a merge of whole models will do, checked before any arithmetic: sources, units of work, warnings.

All inputs must hold the same tensors in the same shapes, whatever their names (``arch.fit``), and agree about tied
embeddings; what their configurations must and may disagree about is in ``configs``.  The plan touches no file: an
executor reads the sources, calls ``apply`` per unit and writes the result.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from mergebarrier.checkpoint.bytes import TORCH
from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge.arithmetic import Streamed, SurveyResult, row_blocks
from mergebarrier.merge.configs import COPIED_ROLES, check_config, check_tensors, folder_notes, is_float
from mergebarrier.merge.method import Merge
from mergebarrier.merge.methods import Linear

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, TensorInfo
    from mergebarrier.circuits import Circuit

_SMALL = 1 << 21  # elements: tensors up to this size share a unit, larger ones have their own
_HELD_BYTES = 1 << 26  # of a tensor in all models: more is read in passes
#: What wrappers of training (torch.compile, DDP, FSDP) leave in names.
_WRAPPER = re.compile(r"^module\.|\b_(?:orig_mod|(?:fsdp|checkpoint)_wrapped_module)\.")
#: How running means and variances are merged by every method: no combination of them with signs is one.
AVERAGE = Linear()


@dataclass(frozen=True)
class MergeUnit:
    """Tensors merged together; ``rowwise`` when any block of rows may be merged alone.

    ``streamed``: one tensor that a method must see whole, but in passes over blocks of rows.
    """

    name: str
    tensors: tuple[str, ...]
    rowwise: bool
    streamed: bool = False


class UnitTensors(Protocol):
    """What is merged at once, as far as the arithmetic looks at it."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names on disk."""
        ...


@dataclass(frozen=True)
class Plan:
    """A merge ready to run.

    Attributes:
      method:  the merge method.
      sources: the base, if the method uses it, then the experts; the first gives names, shapes, dtypes and files.
      methods: tensor name -> the method with the parameters that hold for this tensor.
      units:   what to do, covering every tensor of the donor once.
      notes:   warnings for the user, one line each.
      copied:  tensors that are the donor's, whatever the others hold.
      survey_results: tensor name -> what a survey of the model says; ``surveyed`` fills it.
      circuits: the tensors of a unit -> their circuit, for a method that sees circuits.
      device:  where a dense method decomposes matrices.
    """

    method: Merge
    sources: "tuple[Checkpoint, ...]"
    methods: Mapping[str, Merge]
    units: tuple[MergeUnit, ...]
    notes: tuple[str, ...]
    copied: frozenset[str] = frozenset()
    survey_results: Mapping[str, SurveyResult] = field(default_factory=dict)
    circuits: "Mapping[tuple[str, ...], Circuit]" = field(default_factory=dict)
    device: str = "cpu"

    @property
    def donor(self) -> "Checkpoint":
        """The source whose layout and side files the output takes."""
        return self.sources[0]

    def sources_of(self, name: str) -> "Sequence[Checkpoint]":
        """Return the models that a tensor of the output is made of, the donor first."""
        if name in self.copied:
            return self.sources[:1]
        return self.sources[1:] if self.method.uses_base and not self.methods[name].uses_base else self.sources

    def surveyed(self) -> "Plan":
        """Return the plan after the method has looked at the whole model, where it must."""
        if self.method.reads == 1:
            return self
        floats = {name: info for name, info in self.donor.tensors.items() if is_float(info.dtype) and info.numel}
        asked = [name for name in floats if name not in self.copied and self.methods[name] is self.method]
        sizes = {name: floats[name].numel for name in asked}
        survey = self.method.survey(sizes, lambda name: row_blocks(self.sources, name), len(self.sources) - 1)
        return replace(self, survey_results=survey)

    def change(self, unit: MergeUnit, blocks: Sequence[MutableMapping[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Merge as ``apply`` does, tensor after tensor; a streamed one is read from the sources and comes in rows."""
        if unit.tensors in self.circuits:
            return iter(self.apply(unit, blocks).items())
        return changes(unit, blocks, self.apply, self._in_passes)

    def _in_passes(self, name: str) -> Iterator[Tensor]:
        parts = [streamed(source, name) for source in self.sources]
        base, experts = (parts[0], parts[1:]) if self.method.uses_base else (None, parts)
        survey = self.survey_results.get(name)
        return self.methods[name].merge_rows(base, experts, name=name, survey=survey, device=self.device)

    def apply(self, unit: UnitTensors, blocks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Merge the tensors (or row blocks) of one unit.

        Args:
          unit:   one of ``units``.
          blocks: for every source, in order, {name: Tensor} of equal shapes.
        Returns: {name: merged Tensor} in the donor's dtypes; errors as of Merge.merge.
        """
        merged = {}
        for name in unit.tensors:
            if name in self.copied:
                merged[name] = blocks[0][name]
                continue
            tensors = [block[name] for block in blocks]
            base, experts = (tensors[0], tensors[1:]) if self.method.uses_base else (None, tensors)
            survey = self.survey_results.get(name)
            merged[name] = self.methods[name].merge(base, experts, name=name, survey=survey, device=self.device)
        circuit = self.circuits.get(unit.tensors)
        return merged if circuit is None else self.method.merge_circuit(circuit, merged, blocks)


def plan(
    method: Merge,
    base: "Checkpoint | None",
    experts: "Sequence[Checkpoint]",
    *,
    missing: bool = False,
    keep: bool = False,
    drop: bool = False,
    untie: bool = False,
) -> Plan:
    """Check that the models can be merged by ``method`` and lay out the work.

    Args:
      method:  a merge method.
      base:    the model the experts were fine-tuned from; None for a method that does not use it, else ignored there.
      experts: the models to merge.
      missing: take what a model lacks from the base, parts of the body as well as heads.
      keep:    keep a head that one model alone has beyond the donor.
      drop:    leave out whatever a model has beyond the donor.
      untie:   store the head of tied models as a copy of their embedding.
    Raises: BadMergeParameter (counts, missing base), TensorSetMismatch (other tensors, tied and untied mixed),
      ShapeMismatch (shape, vocabulary, dtype kind), ConfigMismatch (another family or other heads).
    """
    method.check_count(len(experts))
    if method.uses_base and base is None:
        raise BadMergeParameter("needs the base model", where=method.name, remedy="give --base")
    sources = (base, *experts) if method.uses_base and base is not None else tuple(experts)
    notes = [note for other in sources[1:] for note in check_config(sources[0], other)]
    found = fitted(sources, spare=base, missing=missing, keep=keep, drop=drop, untie=untie)
    sources, donor = found.models, found.models[0]
    for other in sources[1:]:
        check_tensors(donor, other)
    if any(weight < 0 for weight in getattr(method, "weights", ())):
        notes.append(f"{method.name}: a negative weight subtracts a model")
    methods = {name: AVERAGE if info.role == "statistic" else method for name, info in donor.tensors.items()}
    copied = found.kept | {name for name, info in donor.tensors.items() if info.role in COPIED_ROLES}
    circuits = _circuits(donor) if method.need == "circuit" else {}
    inside = {name for names in circuits for name in names}
    alone = {name: one for name, one in methods.items() if name not in inside}
    return Plan(
        method,
        sources,
        methods,
        (*(MergeUnit(one.name, names, False) for names, one in circuits.items()), *units_of(alone, sources, copied)),
        (*notes, *found.notes, *folder_notes(sources)),
        copied,
        circuits=circuits,
    )


def _circuits(donor: "Checkpoint") -> "dict[tuple[str, ...], Circuit]":
    from mergebarrier.circuits import describe

    return {circuit.tensors: circuit for circuit in describe(donor).circuits if len(circuit.tensors) > 1}


@dataclass(frozen=True)
class FittedModels:
    """Models under the names of the first; ``kept`` are names that one model alone gave, ``notes`` what was done."""

    models: "tuple[Checkpoint, ...]"
    kept: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def fitted(
    models: "Sequence[Checkpoint]",
    *,
    spare: "Checkpoint | None" = None,
    missing: bool = False,
    keep: bool = False,
    drop: bool = False,
    untie: bool = False,
    whole: Callable[[str], bool] = bool,
) -> FittedModels:
    """Bring models under the names of the first, arguments and errors as of ``identity.fit``; ``untie`` comes before.

    Names and shapes are the same as a rule, and then none is compared.
    """
    from mergebarrier import identity
    from mergebarrier.circuits import check_declared

    if any(_WRAPPER.search(name) for model in models for name in model.tensors):
        models = tuple(map(identity.unwrapped, models))
    models = identity.untied(models) if untie else models
    notes = check_declared(*models)
    first, *others = ({name: info.shape for name, info in model.tensors.items()} for model in models)
    ties = {model.config.get("tie_word_embeddings") for model in models} - {None}
    labels = [model.config.get("id2label") for model in models]
    if all(other == first for other in others) and len(ties) < 2 and all(names == labels[0] for names in labels):
        return FittedModels(tuple(models), notes=notes)
    found = identity.fit(models, identity.FitRules(spare=spare, missing=missing, keep=keep, drop=drop, whole=whole))
    return FittedModels(found.models, found.kept, (*notes, *found.notes))


def changes(
    unit: MergeUnit,
    blocks: Sequence[MutableMapping[str, Tensor]],
    apply: Callable[[UnitTensors, Sequence[Mapping[str, Tensor]]], Mapping[str, Tensor]],
    in_passes: Callable[[str], Iterator[Tensor]],
) -> Iterator[tuple[str, Tensor]]:
    """Merge the tensors of a unit, each taken out of its tables first, so that no more than one is held."""
    for name in unit.tensors:
        if unit.streamed:
            yield from ((name, rows) for rows in in_passes(name))
        else:
            yield from apply(
                MergeUnit(name, (name,), False), [{name: block.pop(name)} for block in blocks if name in block]
            ).items()


class RowSource(Protocol):
    """What a merge reads from: a model, or the n-th inputs of all tensors seen as one."""

    @property
    def tensors(self) -> "Mapping[str, TensorInfo]":
        """Name -> dtype and shape."""
        ...

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Read rows of a tensor."""
        ...


def streamed(source: RowSource, name: str, dtype: str | None = None) -> Streamed:
    """Return a tensor of a source that is read in passes, in a dtype of its own or in another stored one."""
    info = source.tensors[name]
    kind = TORCH[dtype or info.dtype]
    return Streamed(info.shape, kind, lambda start, stop: source.read_rows(name, start, stop).to(kind))


def units_of(
    methods: Mapping[str, Merge], sources: Sequence[RowSource], copied: Collection[str]
) -> tuple[MergeUnit, ...]:
    """Cut the tensors of an output into units of work: large ones alone, small ones together."""
    units, small, held = list[MergeUnit](), list[str](), 0

    def close() -> None:
        if small:
            units.append(MergeUnit(small[0], tuple(small), False))
            small.clear()

    for name, info in sources[0].tensors.items():
        if name not in methods:
            continue
        if info.numel > _SMALL:
            close()
            rowwise = name in copied or methods[name].need in ("elementwise", "row")
            nbytes = sum(source.tensors[name].nbytes for source in sources if name in source.tensors)
            passes = not rowwise and is_float(info.dtype) and nbytes > _HELD_BYTES
            units.append(MergeUnit(name, (name,), rowwise, passes))
            held = 0
            continue
        if held + info.numel > _SMALL:
            close()
            held = 0
        small.append(name)
        held += info.numel
    close()
    return tuple(units)
