"""Products that no map inside a head changes, as pairs of factors: combined, and factored back to the head's width.

    M = W^H D        value, output: D = V_g, W = O_g^T          query, key: D = Q_g, W = K_g, per rotary plane in C
    sum_i c_i M_i = [W_0; ..; W_k]^H diag(c) [D_0; ..; D_k]  ~  W'^H D',   QR of both stacks, SVD of the small core

A product has the head's width as its rank and a sum of several has more, so the largest singular values are kept; what
is cut off is of second order in the task vectors.  The factors come in the basis that is nearest to the first.

Source: the low-rank sum is textbook; that no key inside the heads moves it, and the planes, are ours.  Only axes
whose maps touch both sides of one product are seen: none with a norm inside, nor two that share a tensor (MLA).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from mergebarrier.circuits import Circuit, Instance
from mergebarrier.symmetry.blocks import ActedRows, StoredBlock, Tensors, carriers
from mergebarrier.symmetry.joint import nearest_basis

#: D and W, Float64 or Complex128[Tensor, "batch n m"] each.
Factors: TypeAlias = tuple[Tensor, Tensor]


def combine_products(
    circuit: Circuit, merged: Mapping[str, Tensor], models: Sequence[Tensors], shares: Sequence[float]
) -> dict[str, Tensor]:
    """Return the tensors of a circuit with sum_i c_i M_i in place of every product of heads.

    Args:
      circuit: from ``describe``.
      merged:  what stands wherever no product reaches.
      models:  tables of its tensors, streams and heads in one order; the first gives the basis.
      shares:  c, one per model.
    Returns: float64 where a product was written, ``merged`` elsewhere.
    """
    done = dict(merged)
    for axis in product_axes(circuit, models[0]):
        for name in axis.members(models[0]):
            done[name] = done[name].to(torch.float64, memory_format=torch.contiguous_format, copy=True)
        found = [axis.factors(model) for model in models]
        written = (torch.empty_like(found[0][0]), torch.empty_like(found[0][1]))
        for span in axis.spans():
            sides = [(span.of(direct), span.of(dual)) for direct, dual in found]
            for whole, part in zip(written, span.near(_low_rank(sides, shares), sides[0]), strict=True):
                span.put(whole, part)
        axis.write(done, written)
    return done


def _low_rank(models: Sequence[Factors], shares: Sequence[float]) -> Factors:
    """Return the factors, as wide as one model's, that are nearest to the sum of products."""
    n = models[0][0].shape[1]
    direct = torch.cat([side for side, _ in models], dim=1)
    dual = torch.cat([side * share for (_, side), share in zip(models, shares, strict=True)], dim=1)
    (left, lower), (right, upper) = torch.linalg.qr(dual.mH), torch.linalg.qr(direct.mH)
    u, sizes, v = torch.linalg.svd(lower @ upper.mH)
    root = sizes[:, :n, None].sqrt()
    return root * (v[:, :n] @ right.mH), root * (left @ u[:, :, :n]).mH


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Entries of an axis that mix with each other alone: planes (first entries, then second ones), or any basis."""

    entries: Tensor
    planes: bool

    def of(self, side: Tensor) -> Tensor:
        """Return the entries; of planes a batch of complex rows."""
        chosen = side[:, self.entries]
        if not self.planes:
            return chosen
        first, second = chosen.chunk(2, dim=1)
        return torch.complex(first.contiguous(), second.contiguous()).flatten(0, 1)[:, None]

    def put(self, side: Tensor, part: Tensor) -> None:
        """Write the entries: undo ``of``."""
        if self.planes:
            turned = part.reshape(len(side), -1, side.shape[2])
            part = torch.cat([turned.real, turned.imag], dim=1)
        side[:, self.entries] = part

    def near(self, now: Factors, then: Factors) -> Factors:
        """Return the same products by the factors nearest to others."""
        if not self.planes:
            return nearest_basis(now, then)
        products = [(one * other.conj()).sum(2, keepdim=True) for one, other in zip(now, then, strict=True)]
        turn = products[0] + products[1]
        sizes = [side.norm(dim=2, keepdim=True) for side in (*now, *then)]
        size = (sizes[0] * sizes[3] / (sizes[1] * sizes[2])).sqrt()
        z = size * turn / turn.abs()
        z = torch.where(torch.isfinite(z.abs()) & (z != 0), z, torch.ones_like(z))
        return now[0] / z, now[1] * z.conj()


@dataclass(frozen=True, kw_only=True)
class ProductAxis:
    """An axis inside the heads of a circuit."""

    circuit: Circuit
    one: Instance

    def rows(self, tensors: Tensors) -> list[ActedRows]:
        """Return what the axis acts on, direct sides and dual ones."""
        return carriers(self.circuit, self.one, tensors, tensors, lambda other: True)

    def members(self, tensors: Tensors) -> set[str]:
        """Return the names of its tensors."""
        return {part.member.name for row in self.rows(tensors) for part, _ in row.parts}

    def factors(self, tensors: Tensors) -> Factors:
        """Return D and W; biases are columns."""
        rows = self.rows(tensors)
        direct, dual = ([row.now.double() for row in rows if row.factor.dual is side] for side in (False, True))
        return torch.cat(direct, dim=2), torch.cat(dual, dim=2)

    def spans(self) -> Iterator[_Span]:
        """Yield the entries that rotate, and those that do not."""
        axis, n = self.circuit.axis(self.one), self.circuit.sizes[self.one[0]]
        rotated = self.circuit.rotary[self.one[0]] if axis.kind == "planes" else 0
        if rotated:
            places = torch.arange(rotated)
            yield _Span(entries=places.view(-1, 2).T.reshape(-1) if axis.pairs else places, planes=True)
        if n > rotated:
            yield _Span(entries=torch.arange(rotated, n), planes=False)

    def write(self, tensors: Tensors, factors: Factors) -> None:
        """Write D and W over the tensors that they come from, which are contiguous."""
        start = [0, 0]
        for row in self.rows(tensors):
            side = int(row.factor.dual)
            for block, _ in row.parts:
                view = _view(block, row)
                stop = start[side] + view[(0,) * (len(row.batch) + 1)].numel()
                view.copy_(factors[side][:, :, start[side] : stop].reshape(view.shape))
                start[side] = stop


def _view(block: StoredBlock, row: ActedRows) -> Tensor:
    """Return a block with the dimensions of ``matrix`` first, as a view."""
    first = [block.place(name) for name in (*row.batch, row.axis)]
    return block.tensor.permute(*first, *(place for place in range(len(block.factors)) if place not in first))


def product_axes(circuit: Circuit, tensors: Tensors) -> Iterator[ProductAxis]:
    """Yield the axes whose products can be formed."""
    inner = {name for name, axis in circuit.family.axes.items() if axis.kind in ("basis", "planes")}
    for one in circuit.instances:
        if one[0] not in inner or circuit.axis(one).normed:
            continue
        axis = ProductAxis(circuit=circuit, one=one)
        rows = axis.rows(tensors)
        held = {factor.axis for row in rows for part, _ in row.parts for factor in part.factors}
        plain = not any(row.vector for row in rows) and not held & (inner - {one[0]})
        if plain and {row.factor.dual for row in rows} == {False, True}:
            yield axis
