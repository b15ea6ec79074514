"""Fold a widened model from the file alone: neurons of one gate are one, so are key heads that agree, zeros are none.

    layers that write nothing but zeros are taken out        (``fold_layers``)
    neurons of every MLP are grouped by their gates          (``fold_neurons``)
    key heads that were multiplied are kept once             (``fold_heads``)

All layers get the width of the widest, and what is left is a model in another order, which ``gaugefix`` puts back.
Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import circuits, symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.parameters import check_values, number
from mergebarrier.realign.fold_heads import FoldedHeads, folded_heads, has_groups
from mergebarrier.realign.fold_layers import without_layers
from mergebarrier.realign.fold_neurons import FoldedNeurons, grouped, summed
from mergebarrier.realign.realignment import read

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint, OutputFolder
    from mergebarrier.circuits import Architecture, Circuit, Instance
    from mergebarrier.realign.realignment import Fitted, ParallelMap
    from mergebarrier.symmetry import Tensors

#: Element of a circuit -> its neurons, one per entry of its batch.
_Found = Mapping["Instance", list[FoldedNeurons]]


@dataclass(frozen=True)
class FittedWidth:
    """What every MLP folds to."""

    found: Mapping[str, _Found]
    heads: Mapping[str, FoldedHeads]
    sizes: Mapping[str, int]
    diagnostics: dict[str, object]
    output: OutputFolder

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Add up neurons of one gate; keep key heads once."""
        del anchor
        folded, found, heads = dict(tensors), self.found.get(circuit.name, {}), self.heads.get(circuit.name)
        if heads is not None:
            folded = dict(symmetry.act_each(circuit, heads.elements, folded))
            folded = heads.once(circuit, folded, dict(circuit.sizes))
        for member in circuit.members:
            here = {
                one[0]: groups for one, groups in found.items() if one in circuits.instances_of(circuit.family, member)
            }
            if here:
                wide = folded[member.name].double()
                pieces = []
                for factors, view in symmetry.unfold(wide, member.nodes, circuit.sizes):
                    for place, factor in enumerate(factors):
                        if factor.axis in here:
                            role = symmetry.role_of(circuit, member, factor)
                            width = self.sizes[factor.axis]
                            view = summed(view, place, [one.terms[role] for one in here[factor.axis]], width)
                    pieces.append(view)
                folded[member.name] = symmetry.fold(iter(pieces).__next__, member.nodes)
        return folded


@dataclass(frozen=True, kw_only=True)
class FoldWidth:
    """Hyper-parameters of ``fold_width``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "fold_width"
    label: ClassVar[str] = "fold_width"
    about: ClassVar[str] = "folds a widened model from the file alone"
    preserves_function: ClassVar[bool] = True
    needs_base: ClassVar[bool] = False

    tolerance: float = number(
        1e-4, low=0.0, high=0.1, above=True, help="Gates are one where their cosine is nearer to 1 than this."
    )

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> Fitted:
        """Find layers that add nothing, and group the neurons of every MLP of the others.

        Raises: MethodRefused where nothing folds.
        """
        del anchor
        silent = symmetry.silent_layers(architecture, model)
        if silent:
            return without_layers(architecture, model, silent, lambda inner, left: self._narrow(inner, left, parallel))
        fitted = self._narrow(architecture, model, parallel)
        if not fitted.found and not fitted.heads:
            raise MethodRefused(
                "no two neurons share a gate, no two key heads are one, no layer is silent: this model was not widened",
                where=model.path,
                remedy="use --method gaugefix",
            )
        return fitted

    def _narrow(self, architecture: Architecture, model: Checkpoint, parallel: ParallelMap) -> FittedWidth:
        inner = [circuit for circuit in architecture.circuits if symmetry.neuron_axes(circuit)]
        results = parallel(lambda circuit: grouped(circuit, read(circuit, model), self.tolerance), inner)
        found = dict(zip((circuit.name for circuit in inner), results, strict=True))
        values, was = dict[str, int](), dict[str, int]()
        for groups in found.values():
            for (axis, _), neurons in groups.items():
                if key := circuits.key_of(architecture, axis):
                    values[key] = max(values.get(key, 0), *(one.count for one in neurons))
                    was[key] = architecture.circuits[0].sizes[axis]
        heads = _heads(architecture, model, self.tolerance, parallel)
        for one in heads.values():
            if key := circuits.key_of(architecture, one.group):
                was[key] = architecture.circuits[0].sizes[one.group]
                values[key] = was[key] // one.copies
        if values == was:
            found, heads, values = {}, {}, {}
        resized = circuits.Resized.of(model, architecture, values)
        copies = next((one.copies for one in heads.values()), 1)
        axes = {axis for groups in found.values() for axis, _ in groups}
        keys = [key for one in axes if (key := circuits.key_of(architecture, one))]
        folded = sum(was[key] - values.get(key, was[key]) for key in keys)
        return FittedWidth(
            found,
            heads,
            resized.sizes,
            {"neurons_folded": folded, "copies_of_key_heads": copies, "tokens": 0},
            resized.folder(model, architecture),
        )


def _heads(
    architecture: Architecture, model: Checkpoint, tolerance: float, parallel: ParallelMap
) -> dict[str, FoldedHeads]:
    """Return the copies of key heads of every circuit that has any; nothing unless all have the same number."""
    known = [circuit for circuit in architecture.circuits if has_groups(circuit)]
    results = list(parallel(lambda circuit: folded_heads(circuit, read(circuit, model), tolerance), known))
    found = [one for one in results if one is not None]
    if len(found) < len(known) or len({one.copies for one in found}) > 1:
        return {}
    return {circuit.name: one for circuit, one in zip(known, found, strict=True)}


def folds(architecture: Architecture, model: Checkpoint) -> bool:
    """Whether a model holds layers that are silent, its first MLP neurons that are one, or its attention key heads."""
    if symmetry.silent_layers(architecture, model):
        return True
    heads = next((one for one in architecture.circuits if has_groups(one)), None)
    if heads is not None and folded_heads(heads, read(heads, model), FoldWidth().tolerance) is not None:
        return True
    first = next((circuit for circuit in architecture.circuits if symmetry.neuron_axes(circuit)), None)
    if first is None:
        return False
    found = grouped(first, read(first, model), FoldWidth().tolerance)
    return any(one.count < first.sizes[axis] for (axis, _), neurons in found.items() for one in neurons)
