"""MergeBarrier's attention part, made exact under RoPE: flip the rotary planes that carry most energy.

The paper multiplies q and k of a head by one orthogonal P, chosen to move the weights as far as possible without being
P = -1; a P that ignores RoPE does not commute with the rotations and breaks the model, so we take the best P that does.
Where there is no RoPE the paper's form holds and is used.

    RoPE:     energy of plane i = sum over the group's heads of |W_q[a]|^2 + |W_q[b]|^2, + |W_k[a]|^2 + |W_k[b]|^2;
              both rows of the top k planes times -1, in q and in k;  |displacement|^2 = 4 sum of the flipped energies
    no RoPE:  S = sum_h W_qh W_qh^T + W_k W_k^T, P = 1 - 2 U_k U_k^T from its top k eigenvectors

Which form holds is asked of the table, axis by axis: the entries of a head behind its rotated ones, the unrotated part
of latent attention and a tower with learned positions take the second form in a model that has planes elsewhere.

Source: arXiv 2511.10712 (attention part, from secondary notes of it).  We differ: the commutant under RoPE, biases as a
column, k lowered where eigenvalues tie, nothing behind the planes where a norm reads them.  It has no secret: flips
leave the energies as they are, so applying it twice is the identity and anyone can undo it from the file alone.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mergebarrier import symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values, choice, number
from mergebarrier.protect.protection import Context, Need, Prepared, Reversibility

if TYPE_CHECKING:
    from torch import Tensor

    from mergebarrier.circuits import Circuit, Instance
    from mergebarrier.protect.protection import Pieces, Table, Tensors
    from mergebarrier.symmetry import LinearMap, Monomial, Planes

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
        """Refuse a model without queries and keys, the literal form where it would break one, planes without any."""
        found = [(circuit, one) for circuit in context.architecture.circuits for one in _queries(circuit)]
        planes = any(circuit.axis(one).kind == "planes" for circuit, one in found)
        free = any(_unrotated(circuit, one) for circuit, one in found)
        if not found:
            raise MethodRefused(
                f"a model of the {context.architecture.family} family has no queries and keys to flip",
                where=context.checkpoint.path,
                remedy="use --method exact",
            )
        if self.form == "literal" and planes:
            raise MethodRefused(
                "the literal orthogonal P does not commute with rotary positions: the model would no longer work",
                where="--form literal",
                remedy="use --form planes, the same optimum among maps that do commute",
            )
        if self.form == "planes" and not planes:
            raise MethodRefused("this model has no rotary planes", where="--form planes", remedy="use --form literal")
        literal = free and self.form != "planes"
        return Prepared(
            apply=self._flip,
            invert=self._flip,  # Twice is the identity.
            limit=self.limit,
            variant="attention only",
            parameters={
                "form": ("auto" if planes else "literal") if literal else "planes",
                "part": "attention only",
                "spaces": ["query_key"],
            },
            reversibility="tolerant" if literal else "exact",
            determinism="profile" if literal else "exact",
            amplified=self._amplified(context) if literal else 1.0,
        )

    def _amplified(self, context: Context) -> float:
        """Return the error of a round trip in units of one rounding, tried out on every attention circuit.

        The reflections are found again in the rounded weights, and how far they turn depends on the gap between the
        eigenvalues: no bound that holds for every model says anything about this one.
        """
        worst = 1.0
        for circuit in context.architecture.circuits:
            if _queries(circuit):
                stored = {name: context.checkpoint.read(name) for name in circuit.tensors}
                back = stored
                for _ in range(2):
                    back = {name: moved.to(stored[name].dtype) for name, moved in self._flip(circuit, dict(back))}
                for name, tensor in stored.items():
                    size = float(tensor.double().norm()) * torch.finfo(tensor.dtype).eps / 2
                    error = float((back[name].double() - tensor.double()).norm())
                    worst = max(worst, error / size if size else 0.0)
        return worst

    def element(self, circuit: "Circuit", one: "Instance", tensors: "Tensors") -> "Planes | LinearMap":
        """Return the query/key element of a circuit that the weights themselves determine."""
        rows = symmetry.carriers(circuit, one, tensors, tensors, lambda other: True)
        sides = [row.now.double() for row in rows if not row.vector]
        if circuit.axis(one).kind != "planes":
            return reflections(torch.cat(sides, dim=2), self.flip_fraction)
        batch, n_planes = sides[0].shape[0], circuit.rotary[one[0]] // 2
        # Summed in order and in float64: planes are ranked alike on every machine, ties by index.
        energies = torch.stack([side.square().cumsum(-1)[..., -1] for side in sides], dim=1).cumsum(1)[:, -1]
        still = symmetry.Planes(torch.ones(batch, n_planes, dtype=torch.complex128), None, circuit.axis(one).pairs)
        first, second = still.entries()
        energy = energies[:, first] + energies[:, second]
        flipped = energy.sort(dim=1, descending=True, stable=True).indices[:, : _share(self.flip_fraction, n_planes)]
        behind = circuit.sizes[one[0]] - 2 * n_planes
        rest: Monomial | LinearMap | None = symmetry.identity(batch, behind) if behind else None
        if self.form != "planes" and _unrotated(circuit, one):
            rest = reflections(torch.cat([side[:, 2 * n_planes :] for side in sides], dim=2), self.flip_fraction)
        return symmetry.Planes(still.z.scatter(1, flipped, -1.0 + 0j), rest, still.pairs)

    def _flip(self, circuit: "Circuit", tensors: "Table") -> "Pieces":
        """Flip; circuits without attention stay as they are, and so does what nothing rotates if only planes may."""
        elements = {
            one: self.element(circuit, one, tensors)
            for one in _queries(circuit)
            if self.form != "planes" or circuit.axis(one).kind == "planes"
        }
        return symmetry.act_rows(circuit, elements, tensors)


def _queries(circuit: "Circuit") -> "list[Instance]":
    """Return the elements on which queries meet keys."""
    return [one for one in circuit.instances if circuit.axis(one).space == "query_key"]


def _unrotated(circuit: "Circuit", one: "Instance") -> int:
    """Return how many entries of a head neither rotate nor pass a norm with gains: any basis does there."""
    axis = circuit.axis(one)
    return 0 if axis.normed else circuit.sizes[one[0]] - circuit.rotary.get(one[0], 0)


def _share(fraction: float, n: int) -> int:
    return max(1, round(fraction * n))


def reflections(both: "Tensor", fraction: float) -> "LinearMap":
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
    return symmetry.LinearMap(mirror, mirror)
