"""LoHa: the element-wise product of two updates of low rank.

    W = W_0 + s (A_1 B_1) o (A_2 B_2),    s = alpha / r
    kernels with a core T (r, r, k, k):   A_i B_i -> sum_jk A_i[j, :] T_i[j, k, ..] B_i[k, :]

Source: FedPara, arXiv 2108.06098; LyCORIS, arXiv 2309.14859; names and layouts of peft 0.21.2.  Differs: computed in
float64 and rounded once.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.adapter.kinds.kind import (
    LAYERS,
    MODULES,
    Kind,
    Movement,
    Parts,
    Read,
    Rows,
    Settings,
    Update,
    flat,
    need,
    need_rank,
    without_factors,
)

if TYPE_CHECKING:
    from torch import Tensor


LYCORIS_KEYS = MODULES | LAYERS | frozenset((
    "r", "alpha", "rank_dropout", "module_dropout", "use_effective_conv2d", "init_weights", "rank_pattern",
    "alpha_pattern",
))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HadamardUpdate(Update):
    """Two products of one module and s."""

    scale: float

    def fits(self, shape: tuple[int, ...]) -> bool:
        """As ``Update.fits``."""
        a, b, core = self.parts["hada_w1_a"], self.parts["hada_w1_b"], self.parts.get("hada_t1")
        if core is None:
            return flat(shape) == (a.shape[0], b.shape[1])
        kernel = core.shape[2:] if len(shape) == 4 else core.shape[2:3]
        return shape == (a.shape[1], b.shape[1], *kernel)

    def moved(self, read: Read, movement: Movement) -> "dict[str, Tensor]":
        """As ``Update.moved``: both products change places, and one takes the factors."""
        if not movement.splits or not movement.outputs_keep_apart or not movement.inputs_keep_apart:
            raise ValueError("LoHa multiplies element by element, and the method mixes outputs or inputs")
        found = dict[str, "Tensor"]()
        for half, move in (("a", movement.outputs), ("b", movement.inputs)):
            one, other = (read(self.parts[f"hada_w{number}_{half}"].name).double() for number in "12")
            found[f"hada_w1_{half}"] = move(one)
            found[f"hada_w2_{half}"] = without_factors(move(other), move(other.new_ones(other.shape)))
        return found

    def rows(self, read: Read, shape: tuple[int, ...], *, transposed: bool) -> Rows:
        """As ``Update.rows``."""
        del shape, transposed
        (left, right), (other_left, other_right) = (self._product(read, number) for number in "12")
        scaled = left * self.scale
        return lambda rows, first, last: rows.addcmul_(scaled[first:last] @ right, other_left[first:last] @ other_right)

    def _product(self, read: Read, number: str) -> "tuple[Tensor, Tensor]":
        """Return the two matrices whose product one factor is."""
        a, b = (read(self.parts[f"hada_w{number}_{half}"].name).double() for half in "ab")
        core = self.parts.get(f"hada_t{number}")
        if core is None:
            return a, b
        spread = (read(core.name).double().flatten(2).transpose(1, 2) @ b).transpose(1, 2)
        return a.T, spread.flatten(1)


def _make(module: str, parts: Parts, shared: Parts, config: Settings) -> Update:
    del shared
    halves = need(parts, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    if any(len(half.shape) != 2 for half in halves) or [h.shape for h in halves[:2]] != [h.shape for h in halves[2:]]:
        raise ValueError(
            f"the shapes of its factors are {[half.shape for half in halves]}; two equal pairs of matrices"
        )
    rank, cores = config.rank(module), [end for end in ("hada_t1", "hada_t2") if end in parts]
    if cores:
        for core in need(parts, "hada_t1", "hada_t2"):
            if len(core.shape) != 4 or core.shape[:2] != (rank, rank) or core.shape != parts["hada_t1"].shape:
                raise ValueError(f"a core of shape {core.shape}, for rank {rank}")
    need_rank(rank, ("hada_w1_a", halves[0].shape[0 if cores else 1]), ("hada_w1_b", halves[1].shape[0]))
    return HadamardUpdate(module=module, parts=parts, scale=config.scale(module))


LOHA = Kind(
    name="LOHA",
    ends=("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    keys=LYCORIS_KEYS,
    make=_make,
)
