"""Draw the elements of a circuit from keyed byte streams; which stream serves which axis stands in the table.

    order    purpose                                      a permutation per batch entry
    signed, centred, glu    purpose + perm, sign, scale   one stream each
    basis    purpose        lossless: all permutations, then all signs; full: general maps
    planes   purpose        lossless: quarter turns; full: phases, then sizes     purpose + rest: as basis

``lossless`` draws what changes no bit of a weight (orders, signs, quarter turns); ``full`` adds phases, scales and
general maps of bounded condition.
"""

from collections.abc import Callable, Collection
from math import prod

import torch
from torch import Tensor

from mergebarrier.arch import Axis, Circuit, Instance
from mergebarrier.symmetry import draw as maps
from mergebarrier.symmetry.draw import Stream
from mergebarrier.symmetry.elements import Element, LinearMap, Monomial, Planes

PROFILES = ("lossless", "full")
#: (circuit, purpose) -> byte stream.
Streams = Callable[[str, str], Stream]
Draw = Callable[[str], Stream]


def sample(
    circuit: Circuit, streams: Streams, *, only: Collection[str], profile: str, condition: float
) -> dict[Instance, Element]:
    """Draw the elements of one circuit.

    Args:
      circuit:   from ``describe``.
      streams:   the whole model's elements have a label of their own, so every circuit finds the same ones.
      only:      names of spaces; the others stay as they are.
      profile:   one of PROFILES.
      condition: largest condition number of a real map.
    """
    opened: dict[tuple[str, str], Stream] = {}
    drawn = {}
    for one in circuit.instances:
        axis, batch = circuit.axis(one), circuit.batches[one]
        if axis.space not in only:
            continue
        inside = [name for name in batch if f"{{{name}}}" in axis.stream[0]]
        labels = _labels(circuit, one, inside)
        count = prod(circuit.sizes[name] for name in batch if name not in inside)
        parts = []
        for label in labels:

            def draw(suffix: str, label: str = label, axis: Axis = axis) -> Stream:
                place = (label, axis.stream[1] + suffix)
                if place not in opened:
                    opened[place] = streams(*place)
                return opened[place]

            parts.append(_element(circuit, one, count, draw, profile, condition))
        drawn[one] = parts[0] if len(parts) == 1 else stacked(parts)
    return {one: _reordered(circuit, one, drawn) for one in drawn}


def _labels(circuit: Circuit, one: Instance, inside: list[str]) -> list[str]:
    """Return the circuit names that the streams of an element belong to, one per entry of an axis that is named."""
    axis = circuit.axis(one)
    names = [name for name in axis.scope if name not in circuit.batches[one]]
    values = dict(zip(names, one[1], strict=True))
    if not inside:
        return [axis.stream[0].format_map(values)]
    (name,) = inside
    return [axis.stream[0].format_map({**values, name: str(index)}) for index in range(circuit.sizes[name])]


def _reordered(circuit: Circuit, one: Instance, drawn: dict[Instance, Element]) -> Element:
    """Orders inside an order (query heads of a group) are drawn for the groups as they come to stand."""
    element = drawn[one]
    around = [other for other in drawn if (other[0],) == circuit.batches[one] and other[1] == one[1]]
    if circuit.axis(one).kind != "order" or not around or not isinstance(element, Monomial):
        return element
    outer = drawn[around[0]]
    assert isinstance(outer, Monomial)
    return Monomial(element.perm[torch.argsort(outer.perm[0])], element.factor)


def stacked(parts: list[Element]) -> Element:
    """Return elements of one kind as one element with all their batch entries."""
    first = parts[0]
    if isinstance(first, Monomial):
        monomials = [part for part in parts if isinstance(part, Monomial)]
        return Monomial(torch.cat([p.perm for p in monomials]), torch.cat([p.factor for p in monomials]))
    assert isinstance(first, LinearMap)
    linear = [part for part in parts if isinstance(part, LinearMap)]
    return LinearMap(torch.cat([p.forward for p in linear]), torch.cat([p.backward for p in linear]))


def _element(circuit: Circuit, one: Instance, count: int, draw: Draw, profile: str, condition: float) -> Element:
    axis, n = circuit.axis(one), circuit.sizes[one[0]]
    if axis.kind == "planes":
        return _planes(axis, circuit.rotary[one[0]], n, count, draw, profile, condition)
    if axis.kind == "basis":
        return _basis(draw(""), n, count, profile, condition)
    if axis.kind == "order":
        stream = draw("") if axis.stream[1] else draw("perm")
        perm = torch.stack([torch.from_numpy(maps.permutation(stream, n)) for _ in range(count)])
        return Monomial(perm, torch.ones(count, n, dtype=torch.float64))
    perm = torch.stack([torch.from_numpy(maps.permutation(draw("perm"), n)) for _ in range(count)])
    factor = torch.stack([torch.from_numpy(maps.signs(draw("sign"), n)) for _ in range(count)])
    if axis.kind == "centred":
        factor = factor[:, :1].expand(count, n).clone()
    if axis.kind == "glu":
        if profile == "full":
            scale = [torch.from_numpy(maps.scales(draw("scale"), n, condition)) for _ in range(count)]
            factor = factor * torch.stack(scale)
        factor = factor.gather(-1, perm)  # drawn for the old order
    return Monomial(perm, factor)


def _basis(stream: Stream, n: int, count: int, profile: str, condition: float) -> Monomial | LinearMap:
    if profile == "lossless":
        perm = torch.stack([torch.from_numpy(maps.permutation(stream, n)) for _ in range(count)])
        return Monomial(perm, torch.stack([torch.from_numpy(maps.signs(stream, n)) for _ in range(count)]))
    pairs = [maps.general_linear(stream, n, condition) for _ in range(count)]
    forward, backward = (torch.stack([torch.from_numpy(side) for side in sides]) for sides in zip(*pairs, strict=True))
    return LinearMap(forward, backward)


def _planes(axis: Axis, rotated: int, n: int, count: int, draw: Draw, profile: str, condition: float) -> Planes:
    stream, planes = draw(""), rotated // 2
    if profile == "lossless" or axis.normed:
        z = maps.quarter_turns(stream, count * planes)
    else:
        z = maps.phases(stream, count * planes)
        # |z| acts on one side and 1/|z| on the other: its square root keeps the condition of either within the bound.
        z = z * maps.scales(stream, count * planes, condition)
    turns: Tensor = torch.from_numpy(z).reshape(count, planes)
    still = n == rotated or axis.normed
    rest = None if n == rotated else _still(count, n - rotated) if still else _basis(
        draw(".rest"), n - rotated, count, profile, condition
    )  # fmt: skip
    return Planes(turns, rest, axis.pairs)


def _still(count: int, n: int) -> Monomial:
    return Monomial(torch.arange(n).repeat(count, 1), torch.ones(count, n, dtype=torch.float64))
