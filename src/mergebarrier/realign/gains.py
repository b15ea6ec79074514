"""Gains that were traded against the readers behind a norm, and how the base's gains come back.

A norm's gain may grow by s where the columns of its readers shrink by s; folding hides that, but stock tools merge the
stored tensors.  A gain that a fine-tune moved is no trade: its readers have not answered.

    entry j was traded if  |log r_j| > log 1.15  and  |log r_j + log q_j| < |log r_j| / 2,
    r_j = gain_j / gain0_j,   q_j = |readers' columns j| / |base's columns j|

Source: ours.  Entries are judged one by one, and nothing is touched where none was traded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier import symmetry
from mergebarrier.lazy import torch
from mergebarrier.realign.realignment import broadcast, norms, pieces

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit, Member
    from mergebarrier.symmetry import Rotatable, Tensors

_TRADE = math.log(1.15)


def trades_gains(circuit: Circuit, tensors: Tensors, anchor: Tensors) -> bool:
    """Whether any gain of a circuit was traded against its readers."""
    return any(bool(_traded(circuit, norm, tensors, anchor)[0].any()) for norm in norms(circuit))


def restore_gains(circuit: Circuit, tensors: Tensors, anchor: Tensors, *, folded: bool = False) -> dict[str, Tensor]:
    """Put the base's gains back where they were traded, and give the readers what they lost; float64 there.

    A rotation leaves no gain unfolded: then (``folded``) every one was traded, however little it moved.
    """
    restored = dict(tensors)
    for norm in norms(circuit):
        traded, ratio = _traded(circuit, norm, tensors, anchor)
        traded = torch.ones_like(traded) if folded else traded  # a gain of 0 has readers of 0
        if not bool(traded.any()):
            continue
        factor = torch.where(traded, ratio, 1.0)
        restored[norm.name] = torch.where(traded, anchor[norm.name].double(), tensors[norm.name].double())
        for reader in _readers(circuit, norm):
            weight = tensors[reader.name].double()
            restored[reader.name] = weight * broadcast(factor, symmetry.stream_place(reader, norm), weight.dim())
    return restored


def _readers(circuit: Circuit, norm: Member) -> list[Member]:
    return [member for member in circuit.members if circuit.norm_of(member) is norm]


def _traded(circuit: Circuit, norm: Member, tensors: Tensors, anchor: Tensors) -> tuple[Tensor, Tensor]:
    """Return which entries were traded, and the ratio of gains; a norm with a shift is left alone.

    Readers are looked at only where a gain has moved, which it rarely has.
    """
    offset = circuit.family.offset
    gain, gain0 = (side[norm.name].double() + offset for side in (tensors, anchor))
    ratio = gain / torch.where(gain0 == 0, 1.0, gain0)
    usable = (gain0 != 0) & (ratio > 0)
    moved = torch.where(usable, ratio, 1.0).log()
    far = torch.nonzero(usable & (moved.abs() > _TRADE))[:, 0]
    readers = _readers(circuit, norm)
    traded = torch.zeros_like(usable)
    if any(member.canonical == f"{norm.stem}.bias" for member in circuit.members) or not readers or not len(far):
        return traded, ratio
    now, then = (_energies(circuit, readers, norm, side, far) for side in (tensors, anchor))
    heard = (now > 0) & (then > 0)
    answer = torch.where(heard, now / then.clamp_min(1e-300), 1.0).log() / 2
    traded[far] = heard & ((moved[far] + answer).abs() < moved[far].abs() / 2)
    return traded, ratio


def _energies(circuit: Circuit, readers: list[Member], norm: Member, tensors: Tensors, entries: Tensor) -> Tensor:
    """Return the squared norms of some of the columns that readers meet a norm with, all readers together."""
    total = torch.zeros(len(entries), dtype=torch.float64)
    for reader in readers:
        place = symmetry.stream_place(reader, norm)
        for (piece,) in pieces(circuit, reader, tensors):
            at = place - len(reader.nodes) + piece.dim()
            columns = piece.index_select(at, entries).movedim(at, 0).reshape(len(entries), -1)
            total = total + columns.double().square().sum(1)
    return total


@dataclass(frozen=True)
class LastGain:
    """The gain of the norm in front of the head, which no circuit holds together with the head."""

    stream: Rotatable
    ratio: Tensor

    @classmethod
    def of(cls, architecture: Architecture, model: Checkpoint, anchor: Checkpoint) -> LastGain | None:
        """Return what the head has taken up; None where there is no such norm."""
        stream = symmetry.rotatable(architecture)
        if isinstance(stream, str):
            return None
        gain, gain0 = (side.read(stream.last.name).double() + architecture.table.offset for side in (model, anchor))
        return cls(stream, torch.where(gain0 == 0, 1.0, gain / torch.where(gain0 == 0, 1.0, gain0)))

    def apply(self, circuit: Circuit, tensors: Tensors, anchor: Tensors) -> dict[str, Tensor]:
        """Give the base's gain back to the norm, and take it from the head."""
        moved = dict(tensors)
        if self.stream.last.name in moved:
            moved[self.stream.last.name] = anchor[self.stream.last.name]
        if self.stream.head.name in moved:
            weight = moved[self.stream.head.name].double()
            moved[self.stream.head.name] = weight * broadcast(self.ratio, 1, weight.dim())
        return moved
