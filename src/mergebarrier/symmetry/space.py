"""What every symmetry can do, and the two helpers that all of them use.

A space is one family of maps that change weights and not the function.  It knows how to draw an element from a keyed
stream, act with it, undo it, compose two, recognise one between a checkpoint and an anchor, and what it leaves
unchanged; protections, attacks, provenance and audits are written on top of these verbs.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from mergebarrier.symmetry.draw import Stream

Tensors = Mapping[str, Tensor]
Draw = Callable[[str], Stream]

PROFILES = ("lossless", "full")

# An estimate this near to a quarter turn (or a signed permutation) on every plane is taken to be one: task vectors move
# an estimate by about their relative size, keys that are not of this class move it by more on some plane.
SNAP_TOLERANCE = 0.15


class Space(Protocol):
    """One symmetry of one circuit.  ``Element`` is the space's own frozen dataclass; tensors are logical (out, in)."""

    def identity(self) -> Any:
        """Return the element that moves nothing."""
        ...

    def sample(self, draw: Draw, *, profile: str, condition: float) -> Any:
        """Draw an element.

        Args:
          draw:      purpose -> byte stream.
          profile:   "lossless" (signs, permutations, quarter turns: no bit of a weight is rounded) or "full".
          condition: largest condition number of real factors in "full".
        """
        ...

    def act(self, element: Any, tensors: Tensors) -> dict[str, Tensor]:
        """Return all tensors, the ones that the element touches changed; any subset of a circuit may be given.

        Real factors give float64, but for scales of 16-bit weights: those multiply in float32 and round once.
        """
        ...

    def inverse(self, element: Any) -> Any:
        """Return the inverse."""
        ...

    def compose(self, after: Any, before: Any) -> Any:
        """Return the element that acts as ``before``, then ``after``."""
        ...

    def estimate(self, tensors: Tensors, anchor: Tensors) -> Any:
        """Return the element that carries ``anchor`` nearest to ``tensors``."""
        ...

    def invariants(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return quantities that no element changes, float64."""
        ...

    def bit_exact(self, element: Any) -> bool:
        """True when acting rounds nothing in any dtype and the inverse restores every bit."""
        ...


def replaced(tensors: Tensors, changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``tensors`` with ``changes`` put in, same order."""
    return {name: changes.get(name, tensor) for name, tensor in tensors.items()}


def with_bias(tensors: Tensors, role: str) -> Tensor:
    """Return [weight | bias] of a role as float64: a bias follows the rows of its weight, so it is one more column."""
    weight = tensors[f"{role}.weight"].double()
    bias = tensors.get(f"{role}.bias")
    return weight if bias is None else torch.cat([weight, bias.double()[:, None]], dim=1)


def map_rows(tensors: Tensors, role: str, rows: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Apply ``rows`` to weight[out, in] and, as one column, to the bias of a role; returns only what changed."""
    changed = {}
    if f"{role}.weight" in tensors:
        changed[f"{role}.weight"] = rows(tensors[f"{role}.weight"])
    if f"{role}.bias" in tensors:
        changed[f"{role}.bias"] = rows(tensors[f"{role}.bias"][:, None])[:, 0]
    return changed
