"""What may change in a model without changing what it computes, axis by axis, in words and in numbers.

Where elements are discrete their number is that of the group; of a general map and of a rotary plane we count the part
that rounds nothing (signed orders, quarter turns) and, apart from it, the real numbers that are free.

    order log2 n!     signed, glu log2 n! + n     centred log2 n! + 1     basis as signed, n^2 reals
    planes 2 bits and 2 reals each, the entries behind them as basis; behind a norm quarter turns alone

Source: the groups of ``axes``.  A count is no strength: whoever has the base undoes any element of any of them.
"""

import math
from dataclasses import dataclass
from typing import Final

from mergebarrier.arch import SPACES, Axis
from mergebarrier.circuits import Architecture, Circuit, Instance

_NOUNS: Final = {
    "residual": "coordinates of the stream",
    "query_key": "entries",
    "value_output": "entries",
    "latents": "latents",
    "heads": "heads",
    "neurons": "neurons",
    "experts": "experts",
}
_MAY: Final = {
    "order": "may change places",
    "signed": "may change places and signs",
    "centred": "may change places, and their sign together",
    "glu": "may change places, signs and scales",
    "basis": "may take any basis",
}


@dataclass(frozen=True, kw_only=True)
class Freedom:
    """What may act on one axis.

    Attributes:
      space:    key of ``SPACES``.
      axis:     name in the table of the family.
      what:     in words, for instance "8 head groups per layer may change places".
      elements: how many elements act in the whole model, each on its own.
      bits:     log2 of the number of values of one element that round nothing.
      reals:    real numbers that are free in one element beside these.
    """

    space: str
    axis: str
    what: str
    elements: int
    bits: float
    reals: int


def freedoms(architecture: Architecture) -> tuple[Freedom, ...]:
    """Return the freedoms of a model, in the order of ``SPACES``; an axis on which nothing can move is left out."""
    where: dict[Instance, Circuit] = {}
    for circuit in architecture.circuits:
        for one in circuit.instances:
            where.setdefault(one, circuit)
    first: dict[str, tuple[Circuit, int]] = {}
    for one, circuit in where.items():
        count = math.prod(circuit.sizes[name] for name in circuit.batches[one])
        known = first.get(one[0], (circuit, 0))
        first[one[0]] = (known[0], known[1] + count)
    found = [_freedom(circuit, name, elements) for name, (circuit, elements) in first.items()]
    order = list(SPACES)
    return tuple(sorted((one for one in found if one.bits or one.reals), key=lambda one: order.index(one.space)))


def _freedom(circuit: Circuit, name: str, elements: int) -> Freedom:
    axis, n, rotated = circuit.axis((name, ())), circuit.sizes[name], circuit.rotary.get(name, 0)
    free = 0 if axis.normed else n - rotated
    if axis.kind in ("basis", "planes"):
        bits, reals = rotated + _signed_orders(free), free * free + (0 if axis.normed else rotated)
    else:
        signs = {"order": 0, "centred": 1}.get(axis.kind, n)
        bits, reals = _signed_orders(n) - n + signs, n if axis.kind == "glu" else 0
    return Freedom(
        space=axis.space,
        axis=name,
        what=_subject(circuit, name) + _predicate(axis, free, rotated // 2),
        elements=elements,
        bits=bits,
        reals=reals,
    )


def _signed_orders(n: int) -> float:
    """Return log2 of the number of signed orders of ``n``."""
    return math.lgamma(n + 1) / math.log(2) + n


def _subject(circuit: Circuit, name: str) -> str:
    """Say how many entries of what an axis has, and what one element of it belongs to."""
    axis, axes = circuit.axis((name, ())), circuit.family.axes
    around = axis.scope[-1] if axis.scope else ""
    place = " per layer" if around else ""
    if around in axes:
        place = " per expert" if axes[around].space == "experts" else f" per {_head(circuit, around)}"
    number, noun = circuit.sizes[name], _NOUNS[axis.space]
    if axis.space == "heads" and around not in axes:
        noun = f"{_head(circuit, name)}s"
    if axis.kind == "planes":
        number, noun = circuit.rotary[name] // 2, "rotary planes"
    part = axis.stream[0].partition(".")[0]
    tower = "" if part in ("residual", "layers") else f" ({part})"
    return f"{number} {noun}{place}{tower}"


def _predicate(axis: Axis, free: int, planes: int) -> str:
    if axis.kind != "planes":
        return f" {_MAY[axis.kind]}"
    if axis.normed:
        return " may turn by quarters"
    return f" may turn and stretch{f', {free} entries more may take any basis' if free else ''}"


def _head(circuit: Circuit, name: str) -> str:
    """Return what people call the entries of an axis of heads: those with query heads inside are groups."""
    inside = [one for one, axis in circuit.family.axes.items() if axis.space == "heads" and axis.scope[-1:] == (name,)]
    return "head group" if any(circuit.sizes.get(one, 1) > 1 for one in inside) else "head"
