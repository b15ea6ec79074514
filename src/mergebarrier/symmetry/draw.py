"""Draw the elements of a circuit from keyed byte streams, with the same bits on every machine.

Each map from bytes uses integers, or IEEE float64 with + - * / and square root only, so that no library's random
generator, libm or LAPACK decides what a key means.  Permutations are stable argsorts of words, signs are bits,
rotations are products of keyed Givens layers.  Which stream serves which axis stands in the table of the family.

    order    purpose                                      a permutation per batch entry
    signed, centred, glu    purpose + perm, sign, scale   one stream each
    basis    purpose        lossless: all permutations, then all signs; full: general maps
    planes   purpose        lossless: quarter turns; full: phases, then sizes     purpose + rest: as basis

    phase  t = 2u - 1:  c = (1 - t^2)/(1 + t^2), s = 2t/(1 + t^2), both negated on an odd word
    scale  a = (sqrt(k) - 1)/(sqrt(k) + 1):  rho = (1 + a u)/(1 - a u), log-symmetric in [k^-1/2, k^1/2]

``lossless`` draws what changes no bit of a weight (orders, signs, quarter turns); ``full`` adds phases, scales and
general maps of bounded condition; the other profiles are those of published locks, and differ where a basis is free:

    scale  diag(s)     symmetric  Q diag(s) Q^T     lock  Q diag(s) P, P an order     (planes: scale, symmetric |z|)

Source: rational parametrisation of the circle; Givens layers are ours (orthogonality error <= 2e-15 for n <= 896).
"""

import math
from collections.abc import Callable, Collection, MutableMapping
from math import prod
from typing import Final, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergebarrier.arch import Axis
from mergebarrier.circuits import Circuit, Instance
from mergebarrier.symmetry.elements import Element, LinearMap, Monomial, Planes

#: Spaces of the entries of attention heads, in which the published locks draw.
HEADS: Final = frozenset({"query_key", "value_output"})
Words: TypeAlias = NDArray[np.uint64]
Reals: TypeAlias = NDArray[np.float64]
_Layers: TypeAlias = list[tuple[NDArray[np.int64], Reals, Reals]]


class Stream(Protocol):
    """Anything that hands out bytes in order."""

    def take(self, n_bytes: int) -> bytes:
        """Return the next ``n_bytes`` bytes."""
        ...


def words(stream: Stream, n: int) -> Words:
    """Return ``n`` uint64 words, little-endian."""
    return np.frombuffer(stream.take(8 * n), dtype="<u8")


def permutation(stream: Stream, n: int) -> NDArray[np.int64]:
    """Return a permutation (n,) int64 to be read as ``new[j] = old[perm[j]]``."""
    return np.argsort(words(stream, n), kind="stable")


def _bits(stream: Stream, n: int) -> NDArray[np.uint8]:
    raw = np.frombuffer(stream.take((n + 7) // 8), dtype=np.uint8)
    return np.unpackbits(raw, bitorder="little")[:n]


def signs(stream: Stream, n: int) -> Reals:
    """Return ``n`` signs, float64 of +1 (bit 0) and -1 (bit 1), least significant bit first."""
    return 1.0 - 2.0 * _bits(stream, n).astype(np.float64)


def quarter_turns(stream: Stream, n: int) -> NDArray[np.complex128]:
    """Return ``n`` powers of i, complex128, two bits each."""
    pairs = _bits(stream, 2 * n).reshape(n, 2).astype(np.int64)
    turns: NDArray[np.complex128] = np.array([1, 1j, -1, -1j])[pairs[:, 0] + 2 * pairs[:, 1]]
    return turns


def _symmetric_uniform(word: Words) -> Reals:
    return 2.0 * ((word >> np.uint64(11)).astype(np.float64) * 2.0**-53) - 1.0


def _circle(word: Words) -> tuple[Reals, Reals]:
    t = _symmetric_uniform(word)
    sign = np.where(word & np.uint64(1), -1.0, 1.0)
    return sign * ((1.0 - t * t) / (1.0 + t * t)), sign * (2.0 * t / (1.0 + t * t))


def phases(stream: Stream, n: int) -> NDArray[np.complex128]:
    """Return ``n`` unit complex numbers, complex128."""
    cosine, sine = _circle(words(stream, n))
    return cosine + 1j * sine


def scales(stream: Stream, n: int, condition: float) -> Reals:
    """Return ``n`` positive float64 in [condition^-1/2, condition^1/2], symmetric in the logarithm."""
    root = math.sqrt(condition)
    a = (root - 1.0) / (root + 1.0)
    u = a * _symmetric_uniform(words(stream, n))
    return (1.0 + u) / (1.0 - u)


def _givens_layers(stream: Stream, n: int) -> _Layers:
    """2 ceil(log2 n) + 2 layers of disjoint plane rotations in keyed pairings: (order, cosines, sines) each."""
    depth = 2 * math.ceil(math.log2(n)) + 2 if n > 1 else 0
    return [(permutation(stream, n), *_circle(words(stream, n // 2))) for _ in range(depth)]


def _rotate_rows(layers: _Layers, matrix: Reals) -> Reals:
    rotated = matrix.copy()
    for order, cosine, sine in layers:
        pairs = len(cosine)
        first, second = order[0 : 2 * pairs : 2], order[1 : 2 * pairs : 2]
        x, y, c, s = rotated[first], rotated[second], cosine[:, None], sine[:, None]
        rotated[first], rotated[second] = c * x - s * y, s * x + c * y
    return rotated


def general_linear(stream: Stream, n: int, condition: float) -> tuple[Reals, Reals]:
    """Return (matrix, inverse), both (n, n) float64, of condition number at most ``condition``.

    matrix = Q1 diag(rho) Q2 with rotations Q1, Q2, so that inverse^T = Q1 diag(1/rho) Q2: nothing is inverted
    numerically, and no matrix product (whose order of summation is the machine's) is formed.
    """
    left, rho, right = _givens_layers(stream, n), scales(stream, n, condition), _givens_layers(stream, n)
    return _sandwiched(left, rho, _rotate_rows(right, np.eye(n)))


def symmetric(stream: Stream, n: int, condition: float) -> tuple[Reals, Reals]:
    """Return Q diag(rho) Q^T with a rotation Q and its inverse, as ``general_linear`` does."""
    layers, rho = _givens_layers(stream, n), scales(stream, n, condition)
    return _sandwiched(layers, rho, _rotate_rows(layers, np.eye(n)).T)


def lock(stream: Stream, n: int, condition: float) -> tuple[Reals, Reals]:
    """Return Q diag(rho) P with a rotation Q and an order P, and its inverse, as ``general_linear`` does."""
    layers, rho = _givens_layers(stream, n), scales(stream, n, condition)
    return _sandwiched(layers, rho, np.eye(n)[permutation(stream, n)])


def _sandwiched(left: _Layers, rho: Reals, inner: Reals) -> tuple[Reals, Reals]:
    """Return Q diag(rho) R and its inverse, for orthogonal R."""
    matrix = _rotate_rows(left, rho[:, None] * inner)
    inverse = _rotate_rows(left, inner / rho[:, None]).T
    return matrix, np.ascontiguousarray(inverse)


_MAPS: Final = {"full": general_linear, "symmetric": symmetric, "lock": lock}
PROFILES = ("lossless", "full")
#: Those of published locks, for heads alone.
LOCKS = ("scale", "symmetric", "lock")
#: (circuit, purpose) -> byte stream.
Streams = Callable[[str, str], Stream]
Draw = Callable[[str], Stream]


def sample(
    circuit: Circuit,
    streams: Streams,
    *,
    only: Collection[str],
    profile: str,
    condition: float,
    drawn_before: MutableMapping[Instance, Element] | None = None,
) -> dict[Instance, Element]:
    """Draw the elements of one circuit.

    Args:
      circuit:   from ``describe``.
      streams:   the whole model's elements have a label of their own, so every circuit finds the same ones.
      only:      names of spaces; the others stay as they are.
      profile:   one of PROFILES or LOCKS.
      condition: largest condition number of a real map.
      drawn_before: elements of the whole model, to which those are added that are drawn here.
    """
    opened: dict[tuple[str, str], Stream] = {}
    drawn: dict[Instance, Element] = {}
    whole = {} if drawn_before is None else drawn_before
    for one in circuit.instances:
        axis, batch = circuit.axis(one), circuit.batches[one]
        if axis.space not in only:
            continue
        if one in whole:
            drawn[one] = whole[one]
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
        if not axis.scope:
            whole[one] = drawn[one]
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
        return basis(draw(""), n, count, profile, condition)
    if axis.kind == "order":
        stream = draw("") if axis.stream[1] else draw("perm")
        perm = torch.stack([torch.from_numpy(permutation(stream, n)) for _ in range(count)])
        return Monomial(perm, torch.ones(count, n, dtype=torch.float64))
    perm = torch.stack([torch.from_numpy(permutation(draw("perm"), n)) for _ in range(count)])
    factor = torch.stack([torch.from_numpy(signs(draw("sign"), n)) for _ in range(count)])
    if axis.kind == "centred":
        factor = factor[:, :1].expand(count, n).clone()
    if axis.kind == "glu":
        if profile == "full":
            scale = [torch.from_numpy(scales(draw("scale"), n, condition)) for _ in range(count)]
            factor = factor * torch.stack(scale)
        factor = factor.gather(-1, perm)  # drawn for the old order
    return Monomial(perm, factor)


def basis(stream: Stream, n: int, count: int, profile: str, condition: float) -> Monomial | LinearMap:
    """Return ``count`` maps of R^n, as an axis takes them whose basis is free."""
    if profile == "lossless":
        perm = torch.stack([torch.from_numpy(permutation(stream, n)) for _ in range(count)])
        return Monomial(perm, torch.stack([torch.from_numpy(signs(stream, n)) for _ in range(count)]))
    if profile == "scale":
        factor = torch.stack([torch.from_numpy(scales(stream, n, condition)) for _ in range(count)])
        return Monomial(_still(count, n).perm, factor)
    pairs = [_MAPS[profile](stream, n, condition) for _ in range(count)]
    forward, backward = (torch.stack([torch.from_numpy(side) for side in sides]) for sides in zip(*pairs, strict=True))
    return LinearMap(forward, backward)


def _planes(axis: Axis, rotated: int, n: int, count: int, draw: Draw, profile: str, condition: float) -> Planes:
    stream, planes = draw(""), rotated // 2
    turning = profile not in ("scale", "symmetric")
    if profile == "lossless" or (axis.normed and turning):
        z = quarter_turns(stream, count * planes)
    else:
        z = phases(stream, count * planes) if turning else np.ones(count * planes, dtype=np.complex128)
        if not axis.normed:
            # |z| acts on one side and 1/|z| on the other: its root keeps the condition of either within the bound.
            z = z * scales(stream, count * planes, condition)
    turns: Tensor = torch.from_numpy(z).reshape(count, planes)
    still = n == rotated or axis.normed
    rest = None if n == rotated else _still(count, n - rotated) if still else basis(
        draw(".rest"), n - rotated, count, profile, condition
    )  # fmt: skip
    return Planes(turns, rest, axis.pairs)


def _still(count: int, n: int) -> Monomial:
    return Monomial(torch.arange(n).repeat(count, 1), torch.ones(count, n, dtype=torch.float64))
