"""Take layers that add nothing out of a model, from the file alone: all that they write is 0.

    x <- x + 0        what is left is numbered again, and the configuration says of every layer what it said before

Source: ours.  What the layers that are left show besides is folded in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.checkpoint import OutputFolder

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit
    from mergebarrier.realign.realignment import Fitted
    from mergebarrier.symmetry import Tensors


@dataclass(frozen=True)
class FittedLayers:
    """What is done to the layers that are left; ``circuits`` are theirs, by the names of their tensors."""

    stack: symmetry.Restacked
    circuits: Mapping[str, Circuit]
    fitted: Fitted
    diagnostics: dict[str, object]
    output: OutputFolder

    def apply(
        self, circuit: Circuit, tensors: MutableMapping[str, Tensor], anchor: Tensors
    ) -> Mapping[str, Tensor] | Iterator[tuple[str, Tensor]]:
        """Leave silent layers out, and fold the others."""
        left = self.stack.taken(circuit, tensors)
        return self.fitted.apply(self.circuits[next(iter(left))], left, anchor) if left else {}


def without_layers(
    architecture: Architecture,
    model: Checkpoint,
    silent: Sequence[int],
    fit: Callable[[Architecture, Checkpoint], Fitted],
) -> FittedLayers:
    """Return a model without some layers as it is fitted; ConfigMismatch where its configuration cannot say the others.

    Args:
      architecture: of the model.
      model:        with those layers.
      silent:       their numbers.
      fit:          (architecture, model) without them -> what is done to it.
    """
    from mergebarrier.circuits import describe

    kept = [layer for layer in range(symmetry.depth(architecture)) if layer not in silent]
    stack = symmetry.Restacked.of(model, architecture, kept)
    left = stack.view(model)
    inner = describe(left)
    fitted = fit(inner, left)
    output = replace(fitted.output, names=stack.written, config={**stack.config, **fitted.output.config})
    return FittedLayers(
        stack,
        {name: circuit for circuit in inner.circuits for name in circuit.tensors},
        fitted,
        {**fitted.diagnostics, "dead_layers": len(silent)},
        output,
    )
