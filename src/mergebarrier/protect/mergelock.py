"""MergeLock: one secret invertible map per key head, between queries and keys and between values and outputs.

    q <- A q, k <- A^-T k;  v <- B v, o <- o B^-1;  A, B = R diag(s) P: a rotation, scales in [1/sigma, sigma], an order

Both are drawn per group of key and value heads, so grouped queries keep their sums.  Where positions rotate, A is taken
among the maps that commute with every rotation (a phase and a scale per plane), behind a norm among quarter turns: the
published A would break the model, and the refusal of ``--form literal`` says by how much.

Source: arXiv 2509.01548 (its code cannot be had; from its abstract and public reviews).  We differ: sigma 2 instead of
an unstated range, log-uniform; ``paper`` takes sigma 10, which 16-bit files are refused for.  The MLP is left alone, as
published: adding a task vector at coefficient 1 lands there undisturbed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier import symmetry
from mergebarrier.parameters import check_values, choice
from mergebarrier.protect.exact import moving
from mergebarrier.protect.protection import Context, Need, Prepared, Reversibility
from mergebarrier.protect.published import check_dtypes, check_heads, drawn, refuse_literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mergebarrier.circuits import Circuit

_SIGMA: "Final[Mapping[str, float]]" = {"small": 2.0, "paper": 10.0}


@dataclass(frozen=True, kw_only=True)
class MergeLock:
    """Hyper-parameters of ``mergelock``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "mergelock"
    keyed: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset()
    reversibility: ClassVar[tuple[Reversibility, ...]] = ("tolerant",)
    limit: ClassVar[str] = (
        "Attention only: adding a partner's task vector at coefficient 1 still merges, and anyone with the public base "
        "can undo the rest: see it with `mergebarrier realign`."
    )

    preset: str = choice("small", choices=("small", "paper"), help="Scales up to 2, or up to 10 as published.")
    form: str = choice(
        "auto", choices=("auto", "literal"), help="Maps that commute with positions, or those of the paper."
    )

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def prepare(self, context: Context) -> Prepared:
        """Refuse a model without heads, the literal form where it would break one, a dtype that would not survive."""
        condition = _SIGMA[self.preset] ** 2
        check_heads(context, self.name)
        if self.form == "literal":
            refuse_literal(context, drawn("lock", condition))
        check_dtypes(context, self.name, condition)

        def elements(circuit: "Circuit") -> symmetry.Elements:
            assert context.streams is not None
            return symmetry.sample(circuit, context.streams, only=symmetry.HEADS, profile="lock", condition=condition)

        return Prepared(
            **moving(elements),
            limit=self.limit,
            variant=f"attention only, {self.preset}",
            parameters={"condition": condition, "spaces": sorted(symmetry.HEADS & context.architecture.spaces)},
            reversibility="tolerant",
            determinism="profile",
            amplified=condition,
        )
