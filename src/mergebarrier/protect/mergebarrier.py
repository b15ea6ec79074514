"""MergeBarrier's attention part, made exact under RoPE: flip the rotary planes that carry most energy.

The paper multiplies q and k of a head by one orthogonal P, chosen to move the weights as far as possible without being
P = -1; a P that ignores RoPE does not commute with the rotations and breaks the model, so we take the best P that does.
Where there is no RoPE the paper's form holds and is used.

    RoPE:     energy of plane i = sum over the group's heads of |W_q[a]|^2 + |W_q[b]|^2, + |W_k[a]|^2 + |W_k[b]|^2;
              both rows of the top k planes times -1, in q and in k;  |displacement|^2 = 4 sum of the flipped energies
    no RoPE:  S = sum_h W_qh W_qh^T + W_k W_k^T, P = 1 - 2 U_k U_k^T from its top k eigenvectors

Source: arXiv 2511.10712 (attention part, from secondary notes of it).  We differ: the commutant under RoPE, biases as a
column, k lowered where eigenvalues tie.  It has no secret: flips leave the energies as they are, so applying it twice
is the identity and anyone can undo it from the file alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mergebarrier import symmetry
from mergebarrier.arch import Architecture, Circuit
from mergebarrier.errors import MethodRefused, UsageError
from mergebarrier.protect.protection import Pieces, Streams, Tensors
from mergebarrier.symmetry import LinearMap, with_bias

_TIE = 1e-6


@dataclass(frozen=True)
class MergeBarrier:
    """Hyper-parameters of ``mergebarrier``.

    Args:
      flip_fraction: share of planes (or eigen-directions) flipped per key/value head, in (0, 1]; at least one.
      form: "auto" (planes under RoPE, eigen-directions without), "planes" or "literal" (the paper's P).
    Raises: UsageError.
    """

    name: ClassVar[str] = "mergebarrier"
    keyed: ClassVar[bool] = False

    flip_fraction: float = 0.5
    form: str = "auto"

    def __post_init__(self) -> None:
        """Validate."""
        if not 0.0 < self.flip_fraction <= 1.0:
            raise UsageError(f"flip fraction {self.flip_fraction} is outside (0, 1]", where="--flip-fraction")
        if self.form not in ("auto", "planes", "literal"):
            raise UsageError(f"unknown form {self.form!r}", where="--form", remedy="use auto, planes or literal")

    def check(self, architecture: Architecture, dtypes: Mapping[str, str]) -> None:
        """Refuse the literal form where it would break the model, and planes where there are none."""
        del dtypes
        if self.form == "literal" and architecture.dims.rotary:
            raise MethodRefused(
                "the literal orthogonal P does not commute with rotary positions: the model would no longer work",
                where="--form literal",
                remedy="use --form planes, the same optimum among maps that do commute",
            )
        if self.form == "planes" and not architecture.dims.rotary:
            raise MethodRefused("this model has no rotary planes", where="--form planes", remedy="use --form literal")

    def describe(self, architecture: Architecture) -> dict[str, Any]:
        """Return effective parameters for the manifest."""
        planes = architecture.dims.rotary
        return {
            "flip_fraction": self.flip_fraction,
            "form": "planes" if planes else "literal",
            "part": "attention only",
            "spaces": ["query_key"],
            "reversibility": "exact" if planes else "tolerant",
            "determinism": "exact" if planes else "profile",
        }

    def element(self, circuit: Circuit, tensors: Tensors) -> Any:
        """Return the query/key element that the weights themselves determine."""
        dims = circuit.dims
        groups, width = dims.n_kv_heads, dims.head_dim
        query = with_bias(tensors, "q").reshape(groups, dims.heads_per_group, width, -1)
        key = with_bias(tensors, "k").reshape(groups, 1, width, -1)
        both = torch.cat([query, key], dim=1)
        if not dims.rotary:
            return reflections(both, self.flip_fraction)
        n_planes = width // 2
        # Summed head by head in float64: planes are ranked alike on every machine, ties by index.
        rows = both.square().cumsum(-1)[..., -1].cumsum(1)[:, -1]
        energy = rows[:, :n_planes] + rows[:, n_planes:]
        flipped = energy.sort(dim=1, descending=True, stable=True).indices[:, : _share(self.flip_fraction, n_planes)]
        return torch.ones(groups, n_planes, dtype=torch.complex128).scatter(1, flipped, -1.0 + 0j)

    def apply(self, circuit: Circuit, tensors: dict[str, Tensor], streams: Streams | None) -> Pieces:
        """Flip; circuits without attention stay as they are."""
        del streams
        if circuit.kind != "attn":
            return iter(tensors.items())
        return iter(symmetry.spaces(circuit)["query_key"].act(self.element(circuit, tensors), tensors).items())

    # Twice is the identity.
    invert = apply


def _share(fraction: float, n: int) -> int:
    return max(1, round(fraction * n))


def reflections(both: Tensor, fraction: float) -> LinearMap:
    """P = 1 - 2 U_k U_k^T per group, k lowered until the gap below the k-th eigenvalue is open."""
    width = both.shape[2]
    values, vectors = torch.linalg.eigh(torch.einsum("gham,ghbm->gab", both, both))
    matrices = []
    for value, vector in zip(values.flip(1), vectors.flip(2), strict=True):
        k = _share(fraction, width)
        while 0 < k < width and value[k - 1] - value[k] <= _TIE * value[0]:
            k -= 1
        top = vector[:, :k]
        matrices.append(torch.eye(width, dtype=torch.float64) - 2.0 * top @ top.T)
    mirror = torch.stack(matrices)
    return LinearMap(mirror, mirror)
