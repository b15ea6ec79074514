"""Do the neurons of two layers correspond?  Matched by one of their tensors, tested on the others.

    pairs (i, j):  each the other's nearest by cosine of what they read;    S = cos of the held-out rows, multiplied
    D = S less its means of rows and columns;    z = sum_i D_ii / sqrt(sum D^2 / (m - 1))

z is the diagonal sum under uniform permutations, in closed form.  For neurons as they are stored that is the null
itself: a random start does not know which neuron of another model has its number.  For matched pairs it is not, since
models of one data set share features and a fitted map finds them; there z is compared with that of the same layers
after random rotations (``relate``).  The product of up and down is free of the sign and scale that a key may give.

What no random start draws tells nothing, wherever two strangers have it in common: neurons that are switched off, that
have the direction of another of their layer (padding by a constant), or that touch one coordinate (padding by the
identity).  A pair is left out where either is off, or both are plain in that sense.

Source: permutation tests of Hoeffding (1951).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import torch
from mergebarrier.provenance.coordinates import CommonView, mutual
from mergebarrier.provenance.stored_rows import StoredRows

if TYPE_CHECKING:
    from torch import Tensor

#: Most neurons of the first model that are looked for in the second; z grows as the root of it.
MOST_NEURONS: Final = 512
_FEWEST: Final = 8


@dataclass(frozen=True, kw_only=True)
class NeuronLayer:
    """Neurons, a row each, in the coordinates of the stream and free of gains.

    Attributes:
      name: of the circuit.
      read: by which they are matched, a row each.
      held: what they are tested on: what scales them, where they are gated, and what they write.
    """

    name: str
    read: StoredRows
    held: tuple[StoredRows, ...]

    def sampled(self) -> NeuronLayer:
        """Return some of the neurons, evenly spread."""
        if len(self.read) <= MOST_NEURONS:
            return self
        some = torch.arange(MOST_NEURONS) * len(self.read) // MOST_NEURONS
        read, *held = (StoredRows.of(rows.at(some)) for rows in (self.read, *self.held))
        return NeuronLayer(name=self.name, read=read, held=tuple(held))


def diagonal_z(similarity: Tensor) -> float:
    """Return z of the diagonal sum under uniform permutations; 0 where there is too little to permute."""
    n = len(similarity)
    if n < _FEWEST:
        return 0.0
    s = similarity.double()
    centred = s - s.mean(0, keepdim=True) - s.mean(1, keepdim=True) + s.mean()
    spread = (centred.square().sum() / (n - 1)).sqrt()
    return float(centred.diagonal().sum() / spread) if spread > 0 else 0.0


def matched_z(first: NeuronLayer, second: NeuronLayer, view: CommonView) -> float:
    """Match neurons by what they read, and return z of what was held out.

    Args:
      first:  ``sampled``.
      second: whole: the partner of a neuron may be any.
      view:   coordinates that both are seen in.
    """
    ours, theirs = mutual(view.of_first(first.read.blocks()) @ view.of_second(second.read.blocks()).T)
    telling = _telling(first, second, ours, theirs)
    return diagonal_z(_held_out(first, second, view, ours[telling], theirs[telling]))


def stored_z(first: NeuronLayer, second: NeuronLayer, view: CommonView) -> float:
    """Return z of neurons in the order in which they are stored; 0 where the layers differ in size."""
    if len(first.read) != len(second.read):
        return 0.0
    ours, theirs = first.sampled(), second.sampled()
    everyone = torch.arange(len(ours.read))
    telling = everyone[_telling(ours, theirs, everyone, everyone)]
    return diagonal_z(_held_out(ours, theirs, view, telling, telling))


def _telling(first: NeuronLayer, second: NeuronLayer, ours: Tensor, theirs: Tensor) -> Tensor:
    """Say which pairs of neurons a random start can have drawn, Bool[Tensor, "k"]."""
    told = torch.ones(len(ours), dtype=torch.bool)
    for here, there in zip((first.read, *first.held), (second.read, *second.held), strict=True):
        told &= here.on[ours] & there.on[theirs] & ~(here.plain[ours] & there.plain[theirs])
    return told


def _held_out(first: NeuronLayer, second: NeuronLayer, view: CommonView, ours: Tensor, theirs: Tensor) -> Tensor:
    product = torch.ones(len(ours), len(theirs))
    for here, there in zip(first.held, second.held, strict=True):
        product *= view.of_first([here.at(ours)]) @ view.of_second([there.at(theirs)]).T
    return product
