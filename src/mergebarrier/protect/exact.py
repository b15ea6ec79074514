"""Publish the same function in secret coordinates: a keyed gauge over every exact symmetry of the model.

Stock merging averages coordinates that no longer correspond, so it collapses; the model itself computes what it did.
``lossless`` uses the bit-exact subset (orders, signs, quarter turns), so that the key restores every bit of every
weight; ``full`` adds free rotary phases and real maps of bounded condition number, and rounds once.

    published = g(key) . weights,      f(g . weights) = f(weights) for every g in the gauge group

Sources: PaRaMS and MergeLock use subsets of this group (permutations and scales, value/output and query/key maps).
We differ: all spaces at once, keyed per circuit, invertible, condition number bounded by what a quantiser tolerates.
Limit: anyone with the public base estimates g and undoes it (``realign gaugefix``), whatever the key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypedDict

from mergebarrier import symmetry
from mergebarrier.arch import SPACES
from mergebarrier.errors import MethodRefused, UsageError
from mergebarrier.parameters import check_values, choice, number, subset
from mergebarrier.protect.protection import Context, Need, Prepared, Reversibility

if TYPE_CHECKING:
    from collections.abc import Callable

    from mergebarrier.circuits import Circuit, Instance
    from mergebarrier.protect.protection import Pieces, Table, Tensors

#: What the command line calls the parts, and the spaces behind each.
PARTS: Mapping[str, tuple[str, ...]] = {
    part: tuple(space for space, its in SPACES.items() if its == part)
    for part in ("attention", "heads", "mlp", "residual")
}


class Moves(TypedDict):
    """The fields of ``Prepared`` for a method that moves coordinates and does nothing else."""

    apply: "Callable[[Circuit, Table], Pieces]"
    invert: "Callable[[Circuit, Table], Pieces]"
    stages: "Callable[[Circuit, Tensors], tuple[symmetry.Ways, ...]]"


def moving(elements: "Callable[[Circuit], symmetry.Elements]") -> Moves:
    """Return what acts by the elements that are drawn for a circuit, and what undoes it."""
    return {
        "apply": lambda circuit, tensors: symmetry.act_rows(circuit, elements(circuit), tensors),
        "invert": lambda circuit, tensors: symmetry.act_rows(
            circuit, symmetry.inverted(circuit, elements(circuit)), tensors
        ),
        "stages": lambda circuit, tensors: (symmetry.ways(circuit, elements(circuit)),),
    }


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Hyper-parameters of ``exact``; the numbers that ``full`` draws from end where 16-bit rounding eats the gain.

    Raises: UsageError.
    """

    name: ClassVar[str] = "exact"
    keyed: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset()
    reversibility: ClassVar[tuple[Reversibility, ...]] = ("exact", "tolerant", "none")
    limit: ClassVar[str] = (
        "This raises the cost of casual merging with stock tools; it is not cryptographic. Anyone with the public base "
        "can undo it: measure that with `mergebarrier audit`, or see it with `mergebarrier realign`."
    )

    profile: str = choice("lossless", choices=("lossless", "full"), help="What to draw from.")
    only: tuple[str, ...] = subset(
        tuple(PARTS), choices=tuple(PARTS), noun="part", help="Parts of the model to act on."
    )
    condition: float = number(
        3.0, low=1.0, high=4.0, only="with --profile full", help="Bound on the condition numbers of real maps."
    )

    residual: str = choice(
        "order", choices=("order", "rotate"), help="Coordinates of the stream: in another order, or rotated (untied)."
    )

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)
        if self.residual == "rotate" and "residual" not in self.only:
            what, remedy = "--only leaves the stream alone, which this would rotate", "leave one of the two out"
            raise UsageError(what, where="--residual rotate", remedy=remedy)

    @property
    def spaces(self) -> frozenset[str]:
        """Spaces to act on."""
        return frozenset(space for part in self.only for space in PARTS[part])

    def prepare(self, context: Context) -> Prepared:
        """Draw from the key; refuse ``full`` on float16, whose narrow range makes real scales lossy without bound."""
        if self.residual == "rotate":
            from mergebarrier.protect.rotated import rotated

            return rotated(context, replace(self, residual="order").prepare(context))
        lossless = self.profile == "lossless"
        tensors = context.checkpoint.tensors
        narrow = next((name for name, info in tensors.items() if info.dtype == "F16"), None)
        if not lossless and narrow is not None:
            raise MethodRefused("profile full needs bfloat16 or wider, this tensor is float16", where=narrow,
                                remedy="use --profile lossless")  # fmt: skip

        whole: dict[Instance, symmetry.Element] = {}

        def elements(circuit: "Circuit") -> symmetry.Elements:
            assert context.streams is not None
            return symmetry.sample(
                circuit, context.streams, only=self.spaces, profile=self.profile, condition=self.condition,
                drawn_before=whole,
            )  # fmt: skip

        condition = 1.0 if lossless else self.condition
        spaces = sorted(self.spaces & context.architecture.spaces)
        return Prepared(
            **moving(elements),
            limit=self.limit,
            variant=self.profile,
            parameters={"only": sorted(self.only), "condition": condition, "spaces": spaces},
            reversibility="exact" if lossless else "tolerant",
            determinism="exact" if lossless else "profile",
            amplified=condition,
        )
