"""From bytes to group elements, with the same bits on every machine.

Each map uses integers, or IEEE float64 with + - * / and square root only, so that no library's random generator, libm
or LAPACK decides what a key means.  Permutations are stable argsorts of words, signs are bits, rotations are products
of keyed Givens layers.

    phase  t = 2u - 1:  c = (1 - t^2)/(1 + t^2), s = 2t/(1 + t^2), both negated on an odd word
    scale  a = (sqrt(k) - 1)/(sqrt(k) + 1):  rho = (1 + a u)/(1 - a u), log-symmetric in [k^-1/2, k^1/2]

Source: rational parametrisation of the circle; Givens layers are ours (orthogonality error <= 2e-15 for n <= 896).
"""

import math
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
    inner = _rotate_rows(right, np.eye(n))
    matrix = _rotate_rows(left, rho[:, None] * inner)
    inverse = _rotate_rows(left, inner / rho[:, None]).T
    return matrix, np.ascontiguousarray(inverse)
