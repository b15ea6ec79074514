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

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.parameters import choice, number
from mergebarrier.protect.protection import Context, Need, Prepared, Reversibility, check_values

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.arch import Circuit
    from mergebarrier.protect.protection import Pieces, Tensors
    from mergebarrier.symmetry import LinearMap

_TIE = 1e-6


@dataclass(frozen=True, kw_only=True)
class MergeBarrier:
    """Hyper-parameters of ``mergebarrier``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "mergebarrier"
    keyed: ClassVar[bool] = False
    needs: ClassVar[frozenset[Need]] = frozenset()
    reversibility: ClassVar[tuple[Reversibility, ...]] = ("exact", "tolerant")
    limit: ClassVar[str] = (
        "Attention part only. Anyone can undo this from the file alone (the flips are their own inverse and need no "
        "key), and adding a partner's task vector at coefficient 1 still merges."
    )

    flip_fraction: float = number(
        0.5, low=0.0, high=1.0, above=True, help="Share of planes (or eigen-directions) flipped per key head."
    )
    form: str = choice(
        "auto", choices=("auto", "planes", "literal"), help="Planes under RoPE, or the paper's literal projection."
    )

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def prepare(self, context: Context) -> Prepared:
        """Refuse the literal form where it would break the model, and planes where there are none."""
        planes = context.architecture.dims.rotary
        if self.form == "literal" and planes:
            raise MethodRefused(
                "the literal orthogonal P does not commute with rotary positions: the model would no longer work",
                where="--form literal",
                remedy="use --form planes, the same optimum among maps that do commute",
            )
        if self.form == "planes" and not planes:
            raise MethodRefused("this model has no rotary planes", where="--form planes", remedy="use --form literal")
        return Prepared(
            apply=self._flip,
            invert=self._flip,  # Twice is the identity.
            limit=self.limit,
            variant="attention only",
            parameters={
                "form": "planes" if planes else "literal",
                "part": "attention only",
                "spaces": ["query_key"],
            },
            reversibility="exact" if planes else "tolerant",
            determinism="exact" if planes else "profile",
        )

    def element(self, circuit: "Circuit", tensors: "Tensors") -> "Tensor | LinearMap":
        """Return the query/key element that the weights themselves determine."""
        dims = circuit.dims
        groups, width = dims.n_kv_heads, dims.head_dim
        query = symmetry.with_bias(tensors, "q").reshape(groups, dims.heads_per_group, width, -1)
        key = symmetry.with_bias(tensors, "k").reshape(groups, 1, width, -1)
        both = torch.cat([query, key], dim=1)
        if not dims.rotary:
            return reflections(both, self.flip_fraction)
        n_planes = width // 2
        # Summed head by head in float64: planes are ranked alike on every machine, ties by index.
        rows = both.square().cumsum(-1)[..., -1].cumsum(1)[:, -1]
        energy = rows[:, :n_planes] + rows[:, n_planes:]
        flipped = energy.sort(dim=1, descending=True, stable=True).indices[:, : _share(self.flip_fraction, n_planes)]
        return torch.ones(groups, n_planes, dtype=torch.complex128).scatter(1, flipped, -1.0 + 0j)

    def _flip(self, circuit: "Circuit", tensors: "dict[str, Tensor]") -> "Pieces":
        """Flip; circuits without attention stay as they are."""
        if circuit.kind != "attn":
            return iter(tensors.items())
        return iter(symmetry.spaces(circuit)["query_key"].act(self.element(circuit, tensors), tensors).items())


def _share(fraction: float, n: int) -> int:
    return max(1, round(fraction * n))


def reflections(both: "Tensor", fraction: float) -> "LinearMap":
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
    return symmetry.LinearMap(mirror, mirror)
