"""MergeBarrier: flip the rotary planes that carry most energy, exact under RoPE; on request, polynomials for the rest.

The paper multiplies q and k of a head by one orthogonal P, chosen to move the weights as far as possible without being
P = -1; a P that ignores RoPE does not commute with the rotations and breaks the model, so we take the best P that does.
Where there is no RoPE the paper's form holds and is used.

    RoPE:     energy of plane i = sum over the group's heads of |W_q[a]|^2 + |W_q[b]|^2, + |W_k[a]|^2 + |W_k[b]|^2;
              both rows of the top k planes times -1, in q and in k;  |displacement|^2 = 4 sum of the flipped energies
    no RoPE:  S = sum_h W_qh W_qh^T + W_k W_k^T, P = 1 - 2 U_k U_k^T from its top k eigenvectors

Which form holds is asked of the table, axis by axis: the entries of a head behind its rotated ones, the unrotated part
of latent attention and a tower with learned positions take the second form in a model that has planes elsewhere.

``--ffn poly`` replaces the activations of feed-forward networks too (``unfolding``): approximate, and no way back.

Source: arXiv 2511.10712 (from secondary notes of it).  We differ: the commutant under RoPE, biases as a
column, k lowered where eigenvalues tie, nothing behind the planes where a norm reads them.  It has no secret: flips
leave the energies as they are, so applying it twice is the identity and anyone can undo it from the file alone;
``--select keyed`` draws the planes from a key instead, which hides them from whoever lacks the base.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from mergebarrier import symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values, choice, number, whole
from mergebarrier.protect.protection import Context, Need, Prepared, Reversibility

if TYPE_CHECKING:
    from collections.abc import Callable

    from mergebarrier.circuits import Circuit
    from mergebarrier.modeling_mergebarrier import Basis, Form, Outside
    from mergebarrier.protect.protection import Pieces, Streams, Table, Tensors

_POLY = "with --ffn poly"


@dataclass(frozen=True, kw_only=True)
class MergeBarrier:
    """Hyper-parameters of ``mergebarrier``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "mergebarrier"
    needs: ClassVar[frozenset[Need]] = frozenset()
    reversibility: ClassVar[tuple[Reversibility, ...]] = ("exact", "tolerant", "none")
    limit: ClassVar[str] = (
        "Attention part only. Anyone can undo this from the file alone (the flips are their own inverse and need no "
        "key), and adding a partner's task vector at coefficient 1 still merges."
    )
    limit_of_a_key: ClassVar[str] = (
        "Attention part only: adding a partner's task vector at coefficient 1 still merges, and anyone with the public "
        "base can undo the flips: see it with `mergebarrier realign`."
    )
    limit_of_polynomials: ClassVar[str] = (
        "The polynomials are approximate, need code of their own and cannot be undone by `unprotect`: keep the "
        "original. Anyone can undo flips and polynomials from the file alone: see it with `mergebarrier realign "
        "--method poly_invert`."
    )

    flip_fraction: float = number(
        0.5, low=0.0, high=1.0, above=True, help="Share of planes (or eigen-directions) flipped per key head."
    )
    select: str = choice(
        "energy", choices=("energy", "keyed"), help="Which are flipped: those of most energy, or drawn from a key."
    )
    form: str = choice(
        "auto", choices=("auto", "planes", "literal"), help="Planes under RoPE, or the paper's literal projection."
    )
    ffn: str = choice(
        "none", choices=("none", "poly"), help="Also replace activations by polynomials, calibrated on --text."
    )
    basis: str = choice("chebyshev", choices=("chebyshev", "taylor"), help="Of the polynomials.", only=_POLY)
    order: int = whole(8, low=4, high=24, help="Degree of the polynomials.", only=_POLY)
    tolerance: float = number(
        1e-3, low=0.0, high=1.0, above=True, help="Error of an activation above which a neuron stays.", only=_POLY
    )
    exact_fraction: float = number(
        0.0, low=0.0, high=1.0, help="Share of neurons, the widest, that stay in any case.", only=_POLY
    )
    outside: str = choice(
        "linear", choices=("linear", "clamp"), help="How they go on right of the calibrated range.", only=_POLY
    )
    ffn_form: str = choice(
        "unfolded", choices=("unfolded", "compact"), help="A matrix per order, or one beside coefficients.", only=_POLY
    )
    ffn_dtype: str = choice(
        "float32",
        choices=("float32", "bfloat16"),
        help="Of the tensors of polynomials, whatever the rest is.",
        only=_POLY,
    )
    sequences: int = whole(64, low=64, high=2**20, help="Of 256 tokens, or pictures, to calibrate on.", only=_POLY)

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    @property
    def keyed(self) -> bool:
        """Whether it draws from the owner's key."""
        return self.select == "keyed"

    def prepare(self, context: Context) -> Prepared:
        """Refuse a model without queries and keys, the literal form where it would break one, planes without any."""
        flipped = self._flips(context)
        return flipped if self.ffn == "none" else self._unfolded(context, flipped)

    def _unfolded(self, context: Context, flipped: Prepared) -> Prepared:
        """Return the flips with polynomials behind them; what was measured of them joins the parameters."""
        done = replace(
            flipped,
            stages=None,
            invert=None,
            limit=self.limit_of_polynomials,
            variant="attention and polynomials",
            parameters={**flipped.parameters, "part": "attention and feed-forward"},
            reversibility="none",
            determinism="profile",
        )
        if context.undone is not None:
            return done
        from mergebarrier.protect.unfolding import PolynomialOptions, unfold

        options = PolynomialOptions(
            basis=cast("Basis", self.basis),
            order=self.order,
            tolerance=self.tolerance,
            exact_fraction=self.exact_fraction,
            outside=cast("Outside", self.outside),
            form=cast("Form", self.ffn_form),
            dtype=self.ffn_dtype,
            sequences=self.sequences,
        )
        unfolding, folder = unfold(context, options)

        def apply(circuit: "Circuit", tensors: "Table") -> "Pieces":
            pieces = flipped.apply(circuit, tensors)
            return unfolding.pieces(circuit.name, dict(pieces)) if circuit.name in unfolding.fits else pieces

        return replace(done, **vars(folder), apply=apply, parameters={**done.parameters, **unfolding.measured})

    def _flips(self, context: Context) -> Prepared:
        """Return the attention part alone."""
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
            from mergebarrier.protect.published import refuse_literal

            refuse_literal(context, lambda sides: symmetry.reflections(torch.cat([*sides], dim=2), self.flip_fraction))
        if self.form == "planes" and not planes:
            raise MethodRefused("this model has no rotary planes", where="--form planes", remedy="use --form literal")
        literal = free and self.form != "planes"
        dense = literal and not self.keyed
        elements = partial(self._elements, context.streams)

        def flip(circuit: "Circuit", tensors: "Table") -> "Pieces":
            return symmetry.act_rows(circuit, elements(circuit, tensors), tensors)

        return Prepared(
            apply=flip,
            stages=lambda circuit, tensors: (symmetry.ways(circuit, elements(circuit, tensors)),),
            invert=flip,  # Twice is the identity.
            limit=self.limit_of_a_key if self.keyed else self.limit,
            variant="attention only",
            parameters={
                "form": ("auto" if planes else "literal") if literal else "planes",
                "part": "attention only",
                "spaces": ["query_key"],
            },
            reversibility="tolerant" if dense else "exact",
            determinism="profile" if dense else "exact",
            amplified=_amplified(context, flip) if dense else 1.0,
        )

    def _elements(self, streams: "Streams | None", circuit: "Circuit", tensors: "Tensors") -> "symmetry.Elements":
        """Return the flips; circuits without attention have none, nor has what nothing rotates if only planes may."""
        if self.keyed:
            assert streams is not None
        return symmetry.flips(
            circuit,
            tensors,
            self.flip_fraction,
            planes_only=self.form == "planes",
            streams=streams if self.keyed else None,
        )


def _amplified(context: Context, flip: "Callable[[Circuit, Table], Pieces]") -> float:
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
                back = {name: moved.to(stored[name].dtype) for name, moved in flip(circuit, dict(back))}
            for name, tensor in stored.items():
                size = float(tensor.double().norm()) * torch.finfo(tensor.dtype).eps / 2
                error = float((back[name].double() - tensor.double()).norm())
                worst = max(worst, error / size if size else 0.0)
    return worst
