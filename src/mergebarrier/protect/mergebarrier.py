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
    from mergebarrier.circuits import Circuit
    from mergebarrier.protect.protection import Pieces, Table


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
        found = [(circuit, one) for circuit in context.architecture.circuits for one in symmetry.queries(circuit)]
        planes = any(circuit.axis(one).kind == "planes" for circuit, one in found)
        free = any(symmetry.unrotated(circuit, one) for circuit, one in found)
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
            if symmetry.queries(circuit):
                stored = {name: context.checkpoint.read(name) for name in circuit.tensors}
                back = stored
                for _ in range(2):
                    back = {name: moved.to(stored[name].dtype) for name, moved in self._flip(circuit, dict(back))}
                for name, tensor in stored.items():
                    size = float(tensor.double().norm()) * torch.finfo(tensor.dtype).eps / 2
                    error = float((back[name].double() - tensor.double()).norm())
                    worst = max(worst, error / size if size else 0.0)
        return worst

    def _flip(self, circuit: "Circuit", tensors: "Table") -> "Pieces":
        """Flip; circuits without attention stay as they are, and so does what nothing rotates if only planes may."""
        elements = symmetry.flips(circuit, tensors, self.flip_fraction, planes_only=self.form == "planes")
        return symmetry.act_rows(circuit, elements, tensors)
