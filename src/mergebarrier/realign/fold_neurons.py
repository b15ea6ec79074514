"""Fold the neurons of one MLP from the file alone: those of one gate are one neuron, or nothing.

Whatever stands in a group of equal gates (up to a sign and a scale), its sum is what counts:

    sum_j d_j u_j^T act(a_j g x),  act(-t) = act(t) - t   =>   M_a = sum_{|a_j| = a} d_j u_j^T,
    M_lin = -sum_{a_j < 0} |a_j| d_j u_j^T, which must vanish: of the two orientations of g the one where it is smaller

A sum that cancels was a decoy; another is of rank one, and is split again: d = M w, u = M^T d / |d|^2, a few times.

Source: ours.  Without a gate u is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier import circuits, symmetry
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.circuits import Circuit, Instance
    from mergebarrier.symmetry import Role, Tensors

# A sum below so much of what it is made of has cancelled; scales of gates are told apart to an eighth of an octave.
_CANCELLED, _STEPS = 0.05, 8
_SPLITS = 3
# Groups whose rows are held at once, and rows whose cosines are.
_GROUPS, _ROWS = 256, 1024


@dataclass(frozen=True)
class FoldedNeurons:
    """Neurons to come as sums of those that are: role -> (new, old, weight), the same number in each.

    Attributes:
      count: neurons that come out.
      terms: of every role.
    """

    count: int
    terms: Mapping[Role, tuple[Tensor, Tensor, Tensor]]


def summed(view: Tensor, place: int, terms: list[tuple[Tensor, Tensor, Tensor]], width: int) -> Tensor:
    """Return a block with ``width`` neurons; entries of a batch, one per item of ``terms``, come first."""
    if len(terms) > 1:
        return torch.stack([summed(part, place - 1, [one], width) for part, one in zip(view, terms, strict=True)])
    (new, old, weight), shape = terms[0], list(view.shape)
    shape[place] = width
    weights = weight.reshape([-1 if other == place else 1 for other in range(view.dim())])
    return torch.zeros(shape, dtype=view.dtype).index_add_(place, new, view.index_select(place, old) * weights)


def grouped(circuit: Circuit, tensors: Tensors, tolerance: float) -> dict[Instance, list[FoldedNeurons]]:
    """Fold every kind of neurons of a circuit."""
    axes = symmetry.neuron_axes(circuit)
    folded: dict[Instance, list[FoldedNeurons]] = {}
    for one in circuit.instances:
        if one[0] in axes:
            parts: dict[Role, list[Tensor]] = {"gate": [], "up": [], "down": []}
            for block in symmetry.blocks(circuit, tensors):
                factor = next((factor for factor in block.factors if factor.axis == one[0]), None)
                if factor is not None and one in circuits.instances_of(circuit.family, block.member):
                    rows = symmetry.matrix(block, one[0], circuit.batches[one])
                    parts[symmetry.role_of(circuit, block.member, factor)].append(rows)
            sides = {role: torch.cat(found, dim=2) for role, found in parts.items() if found}
            ups = sides.get("up", [None] * len(sides["gate"]))
            each = zip(sides["gate"], ups, sides["down"], strict=True)
            folded[one] = [_folded(*three, tolerance) for three in each]
    return folded


def _folded(gate: Tensor, ups: Tensor | None, down: Tensor, tolerance: float) -> FoldedNeurons:
    """Fold the neurons of one MLP, Float[Tensor, "n m"] each; without a gate ``ups`` is None."""
    up = torch.ones(len(gate), 1) if ups is None else ups
    label, scale = _alike(gate, tolerance)
    octave = (scale.abs().log2() * _STEPS).round().long()
    flipped = torch.zeros(len(gate), dtype=torch.bool)
    for groups in _padded(label):
        turned = _turned(groups, scale, up, down)[:, None].expand(groups.shape)
        flipped[groups[groups >= 0]] = turned[groups >= 0]
    new, old, weights, refs, count = [], [], [], [], 0
    for groups in _padded(label * (1 << 12) + octave):
        here = groups >= 0
        first, second = (_rows(side, groups) for side in (up, down))
        gram_up, gram_down = first @ first.mT, second @ second.mT
        sizes = (gram_up.diagonal(dim1=1, dim2=2) * gram_down.diagonal(dim1=1, dim2=2)).sqrt().sum(1)
        kept = (gram_up * gram_down).sum((1, 2)).clamp_min(0).sqrt() > _CANCELLED * sizes
        into, out = _split(gram_up, gram_down, here) if ups is not None else (here.double(), here.double())
        chosen = here & kept[:, None]
        number = (count + torch.cumsum(kept, 0) - 1)[:, None].expand(groups.shape)
        new.append(number[chosen])
        old.append(groups[chosen])
        weights.append(torch.stack([into[chosen], out[chosen]]))
        refs.append(groups[kept, 0])
        count += int(kept.sum())
    ref = torch.cat(refs)
    sign = torch.where(flipped[ref], -1.0, 1.0) * scale[ref].sign()
    spread = torch.cat(new), torch.cat(old)
    into, out = torch.cat(weights, dim=1)
    terms: dict[Role, tuple[Tensor, Tensor, Tensor]] = {
        "gate": (torch.arange(count), ref, sign.double()),
        "up": (*spread, into),
        "down": (*spread, out),
    }
    return FoldedNeurons(count, terms)


def _alike(gate: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return for every row the first that it is a multiple of, and by what it is that."""
    norm = gate.float().norm(dim=1)
    unit = gate.float() / norm.clamp_min(1e-30)[:, None]
    label, sign = torch.arange(len(gate)), torch.ones(len(gate))
    for start in range(0, len(gate), _ROWS):
        cosine = unit[start : start + _ROWS] @ unit.T
        first = (cosine.abs() > 1.0 - tolerance).int().argmax(1)
        rows = torch.arange(start, start + len(first))
        first = torch.where(norm[rows] > 0, first, rows)
        label[rows], sign[rows] = first, torch.where(cosine[rows - start, first] < 0, -1.0, 1.0)
    return label, sign * torch.where(norm > 0, norm / norm[label].clamp_min(1e-30), 1.0)


def _padded(label: Tensor) -> list[Tensor]:
    """Return the members of every group, Int64[Tensor, "groups size"], -1 behind the last, some groups at a time."""
    order = torch.argsort(label, stable=True)
    sizes = torch.unique_consecutive(label[order], return_counts=True)[1]
    starts = torch.cumsum(sizes, 0) - sizes
    number = torch.arange(int(sizes.max()))
    places = starts[:, None] + number
    members = torch.where(number < sizes[:, None], order[places.clamp_max(len(order) - 1)], -1)
    return list(members.split(_GROUPS))


def _rows(side: Tensor, groups: Tensor) -> Tensor:
    return side[groups.clamp_min(0)].double() * (groups >= 0)[..., None]


def _turned(groups: Tensor, scale: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Say of every group whether its linear part is smaller when its gate is read with the other sign."""
    first, second = (_rows(side, groups) for side in (up, down))
    products = (first @ first.mT) * (second @ second.mT)
    signed = scale[groups.clamp_min(0)].double() * (groups >= 0)
    positive, negative = (
        (part[:, None] @ products @ part[..., None])[:, 0, 0] for part in (signed.clamp_min(0), (-signed).clamp_min(0))
    )
    return negative > positive


def _split(gram_up: Tensor, gram_down: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights x, y with (sum y_j d_j) (sum x_j u_j)^T next to sum d_j u_j^T, Float64[Tensor, "groups size"]."""
    into = here.double()
    largest = gram_up.diagonal(dim1=1, dim2=2).argmax(1, keepdim=True)
    into = torch.zeros_like(into).scatter_(1, largest, 1.0)
    for _ in range(_SPLITS):
        out = (gram_up @ into[..., None])[..., 0]
        out = out / out.norm(dim=1, keepdim=True).clamp_min(1e-300)
        into = (gram_down @ out[..., None])[..., 0]
        into = into / (out * into).sum(1, keepdim=True).clamp_min(1e-300)
    return into, out
