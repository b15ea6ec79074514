"""Gradient steps on a gauge: how a loss of moved weights changes when the elements that moved them do.

With every tensor as the elements found so far have moved it, a further small element I + X changes the loss by <C, X>:

    C = sum over direct sides of G R^T  -  sum over dual sides of D G_D^T        G, G_D gradients of the rows R, D

so no graph leads through the action: a general basis takes the whole of C, a rotary plane its part x + iy, a gated
neuron the diagonal, and an order of neurons the straight-through step: scores that begin at the order found, fall by
C (which acts alike on both sides), and are assigned anew.  Streams and orders of heads stay as they were found.

Source: straight-through re-basin, arXiv 2209.04836, and its continuous groups, arXiv 2506.22712.  Differs: steps are
multiplicative, so an element never leaves its group, and Adam scales them entry by entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.circuits import Circuit, Instance
    from mergebarrier.symmetry import Element, Tensors

#: An order of more neurons stays as realignment found it: its scores would not pay for their memory.
LARGEST_ORDER = 1024
_FADES = (0.9, 0.99)
_TINY = 1e-12
#: What a score may fall by in one step; an order was found at 1.
_SCORE = 0.05


@dataclass(kw_only=True)
class _Adam:
    """Running mean and size of one gradient."""

    mean: Tensor | float = 0.0
    size: Tensor | float = 0.0
    steps: int = 0

    def __call__(self, gradient: Tensor) -> Tensor:
        """Return the step of length about one in every entry, against the gradient."""
        self.steps += 1
        first, second = _FADES
        self.mean = first * self.mean + (1 - first) * gradient
        self.size = second * self.size + (1 - second) * gradient.square()
        mean, size = (
            value / (1 - fade**self.steps) for value, fade in zip((self.mean, self.size), _FADES, strict=True)
        )
        assert isinstance(mean, torch.Tensor) and isinstance(size, torch.Tensor)
        return -mean / (size.sqrt() + _TINY)


@dataclass(kw_only=True)
class GaugeDescent:
    """Everything that is learned of one circuit.

    Attributes:
      circuit:  whose elements these are.
      rate:     length of a step.
      elements: found so far; they act on the tensors as they were at the start.
    """

    circuit: Circuit
    rate: float
    elements: dict[Instance, Element] = field(default_factory=dict)
    _adam: dict[Instance, _Adam] = field(default_factory=dict)
    _scores: dict[Instance, Tensor] = field(default_factory=dict)

    def step(self, moved: Tensors, gradients: Tensors) -> bool:
        """Move every element by one step.

        Args:
          moved:     the tensors of the circuit as the elements now leave them.
          gradients: of a loss with respect to these, under the same names.
        Returns: whether anything can move in this circuit.
        """
        found = dict(self._steps(moved, gradients))
        if found:
            self.elements = symmetry.composed(self.circuit, found, self.elements) if self.elements else found
        return bool(found)

    def _steps(self, moved: Tensors, gradients: Tensors) -> Iterator[tuple[Instance, Element]]:
        circuit = self.circuit
        for one in circuit.instances:
            axis = circuit.axis(one)
            if axis.is_stream or axis.normed or (axis.kind not in ("basis", "planes") and axis.space != "neurons"):
                continue
            rows = symmetry.carriers(circuit, one, moved, gradients, lambda other: True)
            if axis.kind in ("basis", "planes"):
                rows = [row for row in rows if row.factor.signed]
            if not rows:
                continue
            if axis.kind == "basis":
                yield one, _small_map(self.rate * self._adam_of(one)(_slope(rows)))
            elif axis.kind == "planes":
                yield one, self._turned(one, _slope(rows))
            else:
                yield one, self._neurons(one, rows)

    def _turned(self, one: Instance, slope: Tensor) -> symmetry.Planes:
        rotated, n = self.circuit.rotary[one[0]], self.circuit.sizes[one[0]]
        still = symmetry.Planes(
            torch.ones(len(slope), rotated // 2, dtype=torch.complex128), None, self.circuit.axis(one).pairs
        )
        first, second = still.entries()
        length = slope[:, first, first] + slope[:, second, second]
        turn = slope[:, second, first] - slope[:, first, second]
        step = self.rate * self._adam_of(one)(torch.stack([length, turn]))
        rest = symmetry.identity(len(slope), n - rotated) if n > rotated else None
        return symmetry.Planes(torch.exp(torch.complex(step[0], step[1])), rest, still.pairs)

    def _neurons(self, one: Instance, rows: list[symmetry.ActedRows]) -> symmetry.Monomial:
        scaled = [row for row in rows if row.factor.scaled]
        n, batch = self.circuit.sizes[one[0]], len(rows[0].now)
        factor = torch.ones(batch, n, dtype=torch.float64)
        if scaled and self.circuit.axis(one).kind == "glu":
            slopes = [(row.then.double() * row.now.double()).sum(-1) for row in scaled]
            signs = [-1.0 if row.factor.dual else 1.0 for row in scaled]
            slope = torch.stack([sign * one for sign, one in zip(signs, slopes, strict=True)]).sum(0)
            factor = torch.exp(self.rate * self._adam_of(one)(slope))
        perm = torch.arange(n).expand(batch, n)
        if n <= LARGEST_ORDER:
            perm = self._assigned(one, torch.stack([row.then.float() @ row.now.float().mT for row in rows]).sum(0))
        return symmetry.Monomial(perm, factor.gather(-1, perm))

    def _assigned(self, one: Instance, slope: Tensor) -> Tensor:
        """Return the orders that the scores now ask for, Int64[Tensor, "batch n"], and follow them."""
        batch, n, _ = slope.shape
        scores = self._scores.get(one, torch.eye(n).repeat(batch, 1, 1))
        scores = scores - _SCORE * slope / slope.abs().amax().clamp_min(_TINY)
        perm = torch.stack([symmetry.best_pairs(entry) for entry in scores])
        self._scores[one] = scores.gather(-1, perm[:, None].expand_as(scores))
        return perm

    def _adam_of(self, one: Instance) -> _Adam:
        return self._adam.setdefault(one, _Adam())


def _slope(rows: list[symmetry.ActedRows]) -> Tensor:
    """Return how the loss changes with X of I + X, Float64[Tensor, "batch n n"]."""
    sides = [
        (row.then.double() @ row.now.double().mT, row.now.double() @ row.then.double().mT)[row.factor.dual]
        * (-1.0 if row.factor.dual else 1.0)
        for row in rows
    ]
    return torch.stack(sides).sum(0)


def _small_map(step: Tensor) -> symmetry.LinearMap:
    forward = torch.eye(step.shape[-1], dtype=torch.float64) + step
    return symmetry.LinearMap(forward, torch.linalg.inv(forward))
