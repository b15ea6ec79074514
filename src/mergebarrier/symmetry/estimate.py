"""Recognise the elements that carry an anchor to a model: one axis after the other, from all tensors that carry it.

An axis can be estimated once all other axes of some of its tensors correspond; orders of heads come before what happens
inside the heads, seen through products that no map inside changes.  What is found is undone before the next is sought.

    neurons   assignment on cos(gate) + |cos(up)| + |cos(down)|, then scales by Newton
    heads     assignment on cosines of O_h V_g = tr((O^T O0)(V0 V^T)), members inside groups, then groups
    basis     joint fit of both sides; planes   pooled regression per plane; streams and latents   correlations

Source: specs of each are in ``matching`` and ``joint``.  Estimation regresses protected on anchor, which has no noise.
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import torch
from torch import Tensor

from mergebarrier.arch import Factor
from mergebarrier.circuits import Circuit, Instance
from mergebarrier.symmetry.act import Elements
from mergebarrier.symmetry.blocks import ActedRows, Tensors, blocks, matrix, weights
from mergebarrier.symmetry.elements import SNAP_TOLERANCE, Element, LinearMap, Monomial, Planes, identity
from mergebarrier.symmetry.gauge import Reverted
from mergebarrier.symmetry.joint import SIMPLER, Products, recognise
from mergebarrier.symmetry.matching import Correlation, Sums, best_pairs, fit_scale, signed_order
from mergebarrier.symmetry.pairing import pair, sketch

_SILENT_PLANE = 1e-12
# Sums that the columns of a head are added into: cosines of products of heads are then off by less than .01, and
# clear by so much more.
_HEAD_SKETCH = 512
_HEAD_GAP = 0.1


def estimate(circuit: Circuit, tensors: Tensors, anchor: Tensors, *, known: Elements) -> dict[Instance, Element]:
    """Estimate every element of a circuit but those that are known.

    Args:
      circuit: from ``describe``.
      tensors: of the model, by name on disk.
      anchor:  those of the anchor, under the same names.
      known:   elements of the whole model (streams), already undone in ``tensors``.
    Returns: instance -> element; an axis that no tensor shows is left as it is.
    """
    found: dict[Instance, Element] = {}
    waiting = [one for one in circuit.instances if one not in known]
    while waiting:
        now = Reverted(circuit, found, tensors) if found else tensors
        seen = _Seen(circuit=circuit, now=now, then=anchor, done={*known, *found}, waiting=waiting)
        # What all of its tensors show comes before what only some show so far.
        steps = (seen.step(one, whole=whole) for whole in (True, False) for one in waiting)
        ready = next((step for step in steps if step), None)
        if ready is None:
            break
        found |= ready
        waiting = [one for one in waiting if one not in ready]
    return found


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A circuit with all that is known of it undone."""

    circuit: Circuit
    now: Tensors
    then: Tensors
    done: set[Instance]
    waiting: list[Instance]

    def step(self, one: Instance, *, whole: bool) -> dict[Instance, Element]:
        """Estimate one element, or an order with the order inside it; nothing where it cannot be seen yet."""
        circuit, axis = self.circuit, self.circuit.axis(one)
        inside = [other for other in self.waiting if one[0] in circuit.batches[other]]
        if axis.kind == "order" and any(circuit.axis(other).kind == "basis" for other in inside):
            return self._heads(one, inside)
        rows = weights(circuit, one, self.now, self.then, self.done.__contains__)
        if not rows or (whole and len(rows) < len(weights(circuit, one, self.now, self.then, lambda other: True))):
            return {}
        if axis.kind == "basis":
            return {one: _basis(rows)}
        if axis.kind == "planes":
            return {one: _planes(circuit, one, rows)}
        if axis.kind == "signed":
            start = Correlation.zero(circuit.sizes[one[0]])
            total = sum((Correlation.of(row.now[0].T, row.then[0].T) for row in rows), start=start)
            return {one: signed_order(total, "signed")}
        return {one: _order(rows, gated=axis.kind == "glu")}

    def _heads(self, group: Instance, inside: list[Instance]) -> dict[Instance, Element]:
        """Assign members inside every pair of groups, then groups by the sum of what their members reach."""
        circuit = self.circuit
        member = next((one for one in inside if circuit.axis(one).kind == "order"), None)
        similarity = next(similarities(circuit, group, self.now, self.then, self.done, member), None)
        if similarity is None:
            return {}
        if member is None:
            return {group: best_order(similarity)}
        g, r = circuit.sizes[group[0]], circuit.sizes[member[0]]
        parts = similarity.reshape(g, r, g, r).permute(0, 2, 1, 3)
        pairs = [[best_pairs(parts[n][t]) for t in range(g)] for n in range(g)]
        score = [[parts[n][t][torch.arange(r), pairs[n][t]].sum() for t in range(g)] for n in range(g)]
        groups = best_pairs(torch.stack([torch.stack(row) for row in score]))
        members = torch.stack([pairs[n][groups[n]] for n in range(g)])
        return {
            group: Monomial(groups[None], torch.ones(1, g, dtype=torch.float64)),
            member: Monomial(members[torch.argsort(groups)], torch.ones(g, r, dtype=torch.float64)),
        }


def _order(rows: list[ActedRows], *, gated: bool) -> Monomial:
    """Match entries by cosine, then fit the scales where there are any."""
    perms, sums = pair(rows)
    factors = [torch.ones(len(perm), dtype=torch.float64) for perm in perms]
    if gated and any(row.factor.scaled for row in rows):
        factors = [
            1.0 / _scale([(row.factor, found[entry]) for row, found in zip(rows, sums, strict=True)])
            for entry in range(len(perms))
        ]
    return Monomial(torch.stack(perms), torch.stack(factors))


def _scale(sums: list[tuple[Factor, Sums]]) -> Tensor:
    """Fit the scales of matched neurons, t = 1/s; signs alone where a fit explains hardly more than they do."""
    none = torch.zeros_like(sums[0][1].dot)
    up, down = (
        sum((one for factor, one in sums if factor.scaled and factor.dual is dual), start=Sums(none, none, none))
        for dual in (False, True)
    )

    def left(t: Tensor) -> Tensor:
        return up.now * t**2 - 2 * up.dot * t + up.then + down.now / t**2 - 2 * down.dot / t + down.then

    t, still = fit_scale(up, down), torch.ones_like(none)
    sign = torch.where(left(still) > SIMPLER * left(-still), -still, still)
    simple = bool(((t - sign).abs() < SNAP_TOLERANCE).all()) or bool(left(sign).sum() <= SIMPLER * left(t).sum())
    return sign if simple else t


def _basis(rows: list[ActedRows], behind: int = 0) -> Monomial | LinearMap:
    """Joint fit of both sides, of the entries behind so many, unless something simpler explains them."""
    sides: list[Products] = []
    for dual in (False, True):
        found = [Products.of(row.now[:, behind:], row.then[:, behind:]) for row in rows if row.factor.dual is dual]
        sides.append(reduce(operator.add, found))
    return recognise(*sides)


@dataclass(frozen=True)
class _Turns:
    """Products of the planes of one side: squared norms Float64, ``dot`` Complex128[Tensor, "batch planes"]."""

    now: Tensor
    dot: Tensor
    then: Tensor

    @classmethod
    def of(cls, rows: list[ActedRows], still: Planes) -> "_Turns":
        first, second = still.entries()
        now, real, imaginary, then = (torch.zeros(still.z.shape, dtype=torch.float64) for _ in range(4))
        for row in rows:
            for entry, (here, there) in enumerate(zip(row.now, row.then, strict=True)):
                a, b, c, d = (side[places].double() for side in (here, there) for places in (first, second))
                now[entry] += (a * a + b * b).sum(1)
                real[entry] += (a * c + b * d).sum(1)
                imaginary[entry] += (b * c - a * d).sum(1)
                then[entry] += (c * c + d * d).sum(1)
        return cls(now, torch.complex(real, imaginary), then)


def _planes(circuit: Circuit, one: Instance, rows: list[ActedRows]) -> Planes:
    """Pooled forward regression per plane; quarter turns alone where a fit explains hardly more than they do."""
    axis, rotated = circuit.axis(one), circuit.rotary[one[0]]
    batch = prod(circuit.sizes[name] for name in circuit.batches[one])
    still = torch.ones(batch, rotated // 2, dtype=torch.complex128)
    direct, dual = (
        _Turns.of([row for row in rows if row.factor.dual is which], Planes(still, None, axis.pairs))
        for which in (False, True)
    )
    z_direct, z_dual = direct.dot / direct.then.clamp_min(1e-300), dual.dot / dual.then.clamp_min(1e-300)
    energy = direct.then + dual.then
    z_dual = 1.0 / z_dual.conj()
    share = direct.then / energy.clamp_min(1e-300)
    size = torch.exp(share * z_direct.abs().log() + (1 - share) * z_dual.abs().log())
    turn = share * z_direct / z_direct.abs() + (1 - share) * z_dual / z_dual.abs()
    z = size * turn / turn.abs()
    usable = (energy > _SILENT_PLANE * energy.mean()) & torch.isfinite(z.abs()) & (z.abs() > 0)
    z = torch.where(usable, z, still)

    def left(z: Tensor) -> Tensor:
        over = direct.now / z.abs().square() - 2 * (direct.dot / z).real + direct.then
        return over + dual.now * z.abs().square() - 2 * (dual.dot * z.conj()).real + dual.then

    quarter = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128)
    nearest = quarter[(z[..., None] - quarter).abs().argmin(-1)]
    nearest = torch.where(left(still) <= SIMPLER * left(nearest), still, nearest)
    near = bool(((z - nearest).abs() < SNAP_TOLERANCE).all())
    snapped = axis.normed or near or bool(left(nearest).sum() <= SIMPLER * left(z).sum())
    n = circuit.sizes[one[0]]
    rest: Monomial | LinearMap | None = None
    if n > rotated:
        rest = identity(batch, n - rotated) if axis.normed else _basis(rows, rotated)
    return Planes(nearest if snapped else z, rest, axis.pairs)


def best_order(similarity: Tensor) -> Monomial:
    """Return the order that maximises the total of similarities, Float64[Tensor, "n n"]: row now, column anchor."""
    perm = best_pairs(similarity)
    return Monomial(perm[None], torch.ones(1, len(perm), dtype=torch.float64))


def similarities(
    circuit: Circuit,
    group: Instance,
    now: Tensors,
    anchor: Tensors,
    done: set[Instance],
    member: Instance | None = None,
) -> Iterator[Tensor]:
    """Yield how alike the heads of an order are, once per ``basis`` axis inside it whose partners can be compared."""
    bases = [one for one in circuit.instances if circuit.axis(one).kind == "basis"]
    for basis in sorted(
        (one for one in bases if group[0] in circuit.batches[one]),
        key=lambda one: circuit.axis(one).space != "value_output",
    ):
        found = head_similarity(circuit, group, member, basis, now, anchor, done)
        if found is not None:
            yield found


def head_similarity(
    circuit: Circuit,
    group: Instance,
    member: Instance | None,
    basis: Instance,
    now: Tensors,
    anchor: Tensors,
    done: set[Instance],
) -> Tensor | None:
    """Return cosines of head products, Float64[Tensor, "H H"]: row = head now, column = head of the anchor."""
    names = {group[0], *([member[0]] if member is not None else [])}
    sides: list[list[Tensor]] = []
    for tensors in (now, anchor):
        direct: list[Tensor] = []
        dual: list[Tensor] = []
        for block in blocks(circuit, tensors):
            axes = {factor.axis for factor in block.factors if circuit.family.acts(factor.axis)}
            if basis[0] not in axes or len(block.factors) < 2 + len(names & axes):
                continue
            others = axes - names - {basis[0]}
            if not all(one in done for one in circuit.instances if one[0] in others):
                continue
            factor = block.factors[block.place(basis[0])]
            batch = circuit.batches[basis]
            held = (*batch, member[0]) if member is not None and member[0] in axes else batch
            (dual if factor.dual else direct).append(matrix(block, basis[0], held).float())
        if not direct or not dual:
            return None
        sides.append([torch.cat(direct, dim=2), torch.cat(dual, dim=2)])
    if min(side.shape[2] for pair in sides for side in pair) > 2 * _HEAD_SKETCH:
        glance = _alike(*([sketch(side, _HEAD_SKETCH) for side in pair] for pair in sides))
        if len(glance) == 1 or bool((-glance.topk(2, dim=1).values.diff(dim=1) > _HEAD_GAP).all()):
            return glance
    return _alike(*sides)


def _alike(now: Sequence[Tensor], then: Sequence[Tensor]) -> Tensor:
    """Return cosines of O_j V_j with O0_k V0_k, from (V, O) now and at the anchor, Float[Tensor, "heads w d"] each."""
    heads = max(len(now[0]), len(now[1]))
    value, output, value0, output0 = (
        side.repeat_interleave(heads // len(side), dim=0) for pair in (now, then) for side in pair
    )

    def norms(v: Tensor, o: Tensor) -> Tensor:
        return ((o @ o.mT) * (v @ v.mT)).sum((1, 2)).clamp_min(1e-30).sqrt()

    outer = torch.einsum("jad,kbd->jkab", output, output0)
    outer *= torch.einsum("jad,kbd->jkab", value, value0)
    return (outer.sum((2, 3)) / norms(value, output)[:, None] / norms(value0, output0)[None]).double()
