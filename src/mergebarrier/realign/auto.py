"""Look at a file, say which kind of protection it shows, and take what undoes that, one attack after the other.

    polynomials in place of activations   ->   poly_invert        the configuration says so
    several neurons of one gate, zeros    ->   fold_width         the weights say so
    coordinates that are not the base's   ->   gaugefix           what moved says which method it looks like

The first two need nothing but the file; what is left behind them is a model in other coordinates, which shows only
against the base.  Source: ours.  What is trained into a model leaves no coordinates to undo, and is not looked for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier.errors import MethodRefused
from mergebarrier.parameters import check_values
from mergebarrier.realign.fold_width import FoldWidth, folds
from mergebarrier.realign.gaugefix import GaugeFix
from mergebarrier.realign.poly_invert import PolyInvert

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture
    from mergebarrier.realign.realignment import Fitted, ParallelMap, Realignment


@dataclass(frozen=True, kw_only=True)
class Auto:
    """The choice has no hyper-parameters."""

    name: ClassVar[str] = "auto"
    label: ClassVar[str] = "auto"
    about: ClassVar[str] = "looks at the file and takes the chain that undoes what it sees"
    preserves_function: ClassVar[bool] = True
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def step(self, architecture: Architecture, model: Checkpoint, base: Checkpoint | None) -> tuple[str, Realignment]:
        """Return what a model shows, and what undoes that.

        Raises: MethodRefused where only the base could tell, and there is none.
        """
        if architecture.stands_for:
            return "polynomials in place of activations, as mergebarrier --ffn poly", PolyInvert()
        if folds(architecture, model):
            return "neurons of one gate, or layers that add nothing, as widen", FoldWidth()
        if base is None:
            raise MethodRefused(
                "the file shows neither polynomials nor a widening, and other coordinates show against the base alone",
                where=model.path,
                remedy="give --base, or use --method flip_again",
            )
        return "", GaugeFix()

    def fit(
        self, architecture: Architecture, model: Checkpoint, anchor: Checkpoint, *, parallel: ParallelMap = map
    ) -> Fitted:
        """Take the first step of the chain; what writes folders takes the others."""
        base = None if anchor is model else anchor
        return self.step(architecture, model, base)[1].fit(architecture, model, anchor, parallel=parallel)


def seen_in(spaces: Collection[str], *, behind: bool = False) -> str:
    """Say which method what was undone looks like; ``behind`` another step, which leaves neurons and bases of its own.

    Example:
      >>> seen_in(["query_key"]), seen_in(["neurons"], behind=True)
      ('other queries and keys, as mergebarrier', 'neurons in another order, as the step before may leave them')
    """
    if not spaces:
        return "an ordinary fine-tune: no coordinates moved"
    if "residual" in spaces:
        return f"other coordinates of the stream and of {len(spaces) - 1} more spaces, as exact"
    if "heads" in spaces:
        return "heads in another order, as exact --only heads"
    if {*spaces} == {"neurons"}:
        return f"neurons in another order, as {'the step before may leave them' if behind else 'exact --only mlp'}"
    if behind and "neurons" in spaces:
        return "other neurons and heads, as params, or as the step before may leave them"
    if "neurons" in spaces:
        return "other neurons and heads, as params"
    return "other heads, as mergelock" if "value_output" in spaces else "other queries and keys, as mergebarrier"
