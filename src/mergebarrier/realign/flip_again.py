"""Undo MergeBarrier's attention part from the file alone: find the planes of most energy, and flip them back.

A flip leaves every energy as it is, so the protected weights name the same planes (or eigenvectors) that the owner's
did; applied twice, P = 1 - 2 U U^T is the identity.  Nothing else is needed: no key, no base, no data.

    recovered = P(W') W',    P(W') = P(W),    P P = 1

Source: ours; the protection is arXiv 2511.10712.  What was not protected this way is flipped by it, which changes no
output: the share that was flipped, if it is not the default, has to be tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.checkpoint import OutputFolder
from mergebarrier.errors import MethodRefused
from mergebarrier.parameters import check_values, number

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit
    from mergebarrier.realign.realignment import ParallelMap
    from mergebarrier.symmetry import Tensors


@dataclass(frozen=True)
class FittedFlips:
    """Which planes, the tensors of a circuit say when it comes."""

    fraction: float
    diagnostics: dict[str, object]
    output: OutputFolder = field(default_factory=OutputFolder)

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Flip once more."""
        del anchor
        return symmetry.act(circuit, symmetry.flips(circuit, tensors, self.fraction), tensors)


@dataclass(frozen=True, kw_only=True)
class FlipAgain:
    """Hyper-parameters of ``flip_again``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "flip_again"
    label: ClassVar[str] = "flip_again"
    about: ClassVar[str] = "undoes the flips of mergebarrier from the file alone"
    preserves_function: ClassVar[bool] = True
    needs_base: ClassVar[bool] = False

    flip_fraction: float = number(
        0.5, low=0.0, high=1.0, above=True, help="Share of planes (or eigen-directions) that was flipped."
    )

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> FittedFlips:
        """Look whether there is anything to flip; the anchor is not looked at.

        Raises: MethodRefused for a model without queries and keys.
        """
        del anchor, parallel
        flipped = sum(bool(symmetry.queries(circuit)) for circuit in architecture.circuits)
        if not flipped:
            raise MethodRefused(
                f"a model of the {architecture.family} family has no queries and keys that could have been flipped",
                where=model.path,
                remedy="use --method gaugefix",
            )
        return FittedFlips(self.flip_fraction, {"circuits_flipped": flipped, "tokens": 0})
