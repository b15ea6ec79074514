"""PaRaMS: neurons in another order, and random scales (or maps) inside every head.

    MLP:   W_in <- P W_in, W_out <- W_out P^T;  P = argmax |base - P . model|^2, an assignment; or drawn from the key
    heads: q <- A q, k <- A^-T k, v <- B v, o <- o B^-1;  A, B = diag(s), Q diag(s) Q^T or Q diag(s) R;  s log-uniform

Source: arXiv 2503.07661 and its public code.  We differ: A and B are drawn apart (the code takes one for both), one per
group of key heads, s in [1/2, 2] (``paper``: [1/20, 20], the code's); where positions rotate, a scale is tied over its
plane and a map is one that commutes, and behind a norm nothing scales.  The assignment is exact within blocks of 512
neurons, which a layer of any width can bear.
Without ``--base`` the order comes from the key; the published one is the same for everybody who has the base.  That
order is in no key, so it cannot be undone; nor can dropping part of the task vector (PaRaMS-D), which changes the
function.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier import symmetry
from mergebarrier.errors import MethodRefused
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values, choice, number
from mergebarrier.protect.exact import moving
from mergebarrier.protect.protection import Context, Need, Prepared, Reversibility
from mergebarrier.protect.published import check_dtypes, drawn, heads, refuse_literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mergebarrier.circuits import Circuit, Instance
    from mergebarrier.protect.protection import Pieces, Streams, Table, Tensors
    from mergebarrier.symmetry import Element

#: preset -> the largest scale over the smallest.
_CONDITION: "Final[Mapping[str, float]]" = {"small": 4.0, "paper": 400.0}
#: Neurons that are put in another order together.
_BLOCK: "Final" = 512
_PROFILES: "Final[Mapping[str, str]]" = {"diag": "scale", "sym": "symmetric", "gl": "full"}


@dataclass(frozen=True, kw_only=True)
class Params:
    """Hyper-parameters of ``params``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "params"
    keyed: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset()
    reversibility: ClassVar[tuple[Reversibility, ...]] = ("tolerant", "none")
    limit: ClassVar[str] = (
        "Anyone with the public base can undo this: neurons are matched and scales are fitted, see it with "
        "`mergebarrier realign`."
    )

    kind: str = choice("diag", choices=("diag", "sym", "gl"), help="Scales, symmetric maps, or general maps in heads.")
    order: str = choice(
        "auto",
        choices=("auto", "base", "key"),
        help="Neurons as far from the base as can be, or drawn; auto: by --base.",
    )
    preset: str = choice("small", choices=("small", "paper"), help="Scales up to 2, or up to 20 as published.")
    form: str = choice(
        "auto", choices=("auto", "literal"), help="Scales tied over rotary planes, or those of the paper."
    )
    dropout: float = number(
        0.0, low=0.0, high=0.9, help="Share of the task vector of every layer that is dropped first (PaRaMS-D)."
    )

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def prepare(self, context: Context) -> Prepared:
        """Refuse the literal form where it would break the model, a lack of a base, a dtype that would not survive."""
        condition, profile = _CONDITION[self.preset], _PROFILES[self.kind]
        against = context.base is not None if self.order == "auto" else self.order == "base"
        if (against or self.dropout) and context.base is None and context.undone is None:
            raise MethodRefused(
                "the order of neurons and the task vector are taken against the base, and there is none",
                where="--base",
                remedy="give --base, or use --order key without --dropout",
            )
        if not context.architecture.spaces & {*symmetry.HEADS, "neurons"}:
            raise MethodRefused(
                f"a model of the {context.architecture.family} family has neither neurons nor heads to act on",
                where=context.checkpoint.path,
                remedy="use --method exact",
            )
        if self.form == "literal":
            refuse_literal(context, drawn(profile, condition))
        check_dtypes(context, self.name, condition)

        def elements(circuit: "Circuit") -> "dict[Instance, Element]":
            assert context.streams is not None
            found = symmetry.sample(circuit, context.streams, only=symmetry.HEADS, profile=profile, condition=condition)
            return found if against else found | _drawn_orders(circuit, context.streams)

        def acting(circuit: "Circuit", tensors: "Tensors") -> "dict[Instance, Element]":
            moved = elements(circuit)
            if context.base is not None and not circuit.rowwise and against:
                base = {name: context.base.read(name) for name in circuit.tensors}
                moved |= {one: _farthest(circuit, one, tensors, base) for one in heads(circuit, "neurons")}
            return moved

        def apply(circuit: "Circuit", tensors: "Table") -> "Pieces":
            if context.base is not None and not circuit.rowwise and self.dropout:
                assert context.streams is not None
                base = {name: context.base.read(name) for name in circuit.tensors}
                tensors = _thinned(circuit, tensors, base, self.dropout, context.streams)
            return symmetry.act_rows(circuit, acting(circuit, tensors), tensors)

        lost = against or self.dropout > 0
        return Prepared(
            apply=apply,
            stages=None
            if self.dropout
            else lambda circuit, tensors: (symmetry.ways(circuit, acting(circuit, tensors)),),
            invert=None if lost else moving(elements)["invert"],
            limit=self.limit,
            variant=f"{self.kind}, order from the {'base' if against else 'key'}",
            parameters={
                "order": "base" if against else "key",
                "condition": condition,
                "spaces": sorted({*symmetry.HEADS, "neurons"} & context.architecture.spaces),
            },
            reversibility="none" if lost else "tolerant",
            determinism="exact" if self.kind == "diag" and not against else "profile",
            amplified=1.0 if self.kind == "diag" else condition,
        )


def _drawn_orders(circuit: "Circuit", streams: "Streams") -> "dict[Instance, Element]":
    """Draw an order of the neurons, without the signs and scales that ``exact`` would draw."""
    drawn = symmetry.sample(circuit, streams, only={"neurons"}, profile="lossless", condition=1.0)
    return {
        one: symmetry.Monomial(element.perm, torch.ones_like(element.factor))
        for one, element in drawn.items()
        if isinstance(element, symmetry.Monomial)
    }


def _farthest(circuit: "Circuit", one: "Instance", tensors: "Tensors", base: "Tensors") -> "Element":
    """Return the order of neurons that lies farthest from the base, all matrices and biases that carry them together.

    |base - P . model|^2 is largest where sum_j <model_perm[j], base_j> is smallest; a wide layer is solved in blocks.
    """
    rows = symmetry.carriers(circuit, one, tensors, base, lambda other: True)
    sides = [(row.then, row.now) for row in rows]
    batch, n = sides[0][0].shape[:2]
    perm = torch.empty(batch, n, dtype=torch.int64)
    count = -(-n // _BLOCK)
    for entry in range(batch):
        for start, stop in pairwise(n * part // count for part in range(count + 1)):
            block = slice(start, stop)
            products = (then[entry, block].float() @ now[entry, block].float().mT for then, now in sides)
            score = sum(products, start=torch.zeros(()))
            perm[entry, block] = symmetry.best_pairs(-score) + start
    return symmetry.Monomial(perm, torch.ones(perm.shape, dtype=torch.float64))


def _thinned(circuit: "Circuit", tensors: "Table", base: "Tensors", share: float, streams: "Streams") -> "Table":
    """Drop entries of the task vector by the key, and scale the others up, as DARE does."""
    kept: dict[str, Tensor] = {}
    for name in circuit.tensors:
        then = base[name].double()
        raw = bytearray(streams(circuit.name, f"dropout {name}").take(4 * then.numel()))
        keep = torch.frombuffer(raw, dtype=torch.uint32).double() >= share * 2.0**32
        task = (tensors.pop(name).double() - then) * keep.view(then.shape)
        kept[name] = then + task / (1.0 - share)
    return kept
