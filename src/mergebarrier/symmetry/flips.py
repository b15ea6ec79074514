"""The flips of queries and keys that move their weights farthest and that the weights themselves determine.

    planes:  energy of plane i = |W_q[a]|^2 + |W_q[b]|^2 over the group's heads + the same of k; -1 on the top k planes
    no RoPE: S = sum_h W_qh W_qh^T + W_k W_k^T, P = 1 - 2 U_k U_k^T from its top k eigenvectors, k lowered at a tie
    keyed:   -1 on k planes, or on k entries that do not rotate, drawn per group from a key

A flip leaves the energies and S as they are, so whoever has the flipped weights finds the same flips again; drawn ones
look like any others, and are seen against the base alone.

Source: arXiv 2511.10712 (MergeBarrier), from secondary notes; the choice among maps that commute with RoPE is ours.
"""

from math import prod

import torch
from torch import Tensor

from mergebarrier.circuits import Circuit, Instance
from mergebarrier.symmetry.act import Elements
from mergebarrier.symmetry.blocks import Tensors, carriers
from mergebarrier.symmetry.draw import Streams, permutation
from mergebarrier.symmetry.elements import LinearMap, Monomial, Planes, identity

_TIE = 1e-6


def flips(
    circuit: Circuit,
    tensors: Tensors,
    fraction: float,
    *,
    planes_only: bool = False,
    streams: Streams | None = None,
) -> Elements:
    """Return the query/key elements of a circuit.

    Args:
      circuit:     from ``describe``.
      tensors:     of the circuit.
      fraction:    share of planes, or of eigen-directions, that is flipped.
      planes_only: leave alone what nothing rotates.
      streams:     to draw from, in place of what the weights say.
    """
    chosen = [one for one in queries(circuit) if not planes_only or circuit.axis(one).kind == "planes"]
    if streams is not None:
        return {one: _drawn(circuit, one, streams, fraction, planes_only) for one in chosen}
    return {one: _flip(circuit, one, tensors, fraction, planes_only) for one in chosen}


def queries(circuit: Circuit) -> list[Instance]:
    """Return the elements on which queries meet keys."""
    return [one for one in circuit.instances if circuit.axis(one).space == "query_key"]


def unrotated(circuit: Circuit, one: Instance) -> int:
    """Return how many entries of a head neither rotate nor pass a norm with gains: any basis does there."""
    axis = circuit.axis(one)
    return 0 if axis.normed else circuit.sizes[one[0]] - circuit.rotary.get(one[0], 0)


def _flip(circuit: Circuit, one: Instance, tensors: Tensors, fraction: float, planes_only: bool) -> Planes | LinearMap:
    rows = carriers(circuit, one, tensors, tensors, lambda other: True)
    sides = [row.now.double() for row in rows if not row.vector]
    if circuit.axis(one).kind != "planes":
        return reflections(torch.cat(sides, dim=2), fraction)
    batch, n_planes = sides[0].shape[0], circuit.rotary[one[0]] // 2
    # Summed in order and in float64: planes are ranked alike on every machine, ties by index.
    energies = torch.stack([side.square().cumsum(-1)[..., -1] for side in sides], dim=1).cumsum(1)[:, -1]
    still = Planes(torch.ones(batch, n_planes, dtype=torch.complex128), None, circuit.axis(one).pairs)
    first, second = still.entries()
    energy = energies[:, first] + energies[:, second]
    flipped = energy.sort(dim=1, descending=True, stable=True).indices[:, : _share(fraction, n_planes)]
    behind = circuit.sizes[one[0]] - 2 * n_planes
    rest: Monomial | LinearMap | None = identity(batch, behind) if behind else None
    if not planes_only and unrotated(circuit, one):
        rest = reflections(torch.cat([side[:, 2 * n_planes :] for side in sides], dim=2), fraction)
    return Planes(still.z.scatter(1, flipped, -1.0 + 0j), rest, still.pairs)


def _drawn(circuit: Circuit, one: Instance, streams: Streams, fraction: float, planes_only: bool) -> Planes | Monomial:
    stream = streams(circuit.name, ".".join(("flip", one[0], *one[1])))
    batch = prod(circuit.sizes[name] for name in circuit.batches[one])
    axis, n = circuit.axis(one), circuit.sizes[one[0]]

    def signs(size: int) -> Tensor:
        order = torch.stack([torch.from_numpy(permutation(stream, size)) for _ in range(batch)])
        flipped = order[:, : _share(fraction, size)]
        return torch.ones(batch, size, dtype=torch.float64).scatter(1, flipped, -1.0)

    if axis.kind != "planes":
        return Monomial(identity(batch, n).perm, signs(n))
    rotated = circuit.rotary[one[0]]
    z, behind = signs(rotated // 2).to(torch.complex128), n - rotated
    rest = identity(batch, behind) if behind else None
    if rest is not None and not planes_only and unrotated(circuit, one):
        rest = Monomial(rest.perm, signs(behind))
    return Planes(z, rest, axis.pairs)


def _share(fraction: float, n: int) -> int:
    return max(1, round(fraction * n))


def reflections(both: Tensor, fraction: float) -> LinearMap:
    """P = 1 - 2 U_k U_k^T per group, k lowered until the gap below the k-th eigenvalue is open.

    Args:
      both:     Float64[Tensor, "groups n m"], queries and keys of a group side by side.
      fraction: share of the eigen-directions that is flipped.
    """
    width = both.shape[1]
    values, vectors = torch.linalg.eigh(both @ both.mT)
    matrices = []
    for value, vector in zip(values.flip(1), vectors.flip(2), strict=True):
        k = _share(fraction, width)
        while 0 < k < width and value[k - 1] - value[k] <= _TIE * value[0]:
            k -= 1
        top = vector[:, :k]
        matrices.append(torch.eye(width, dtype=torch.float64) - 2.0 * top @ top.T)
    mirror = torch.stack(matrices)
    return LinearMap(mirror, mirror)
