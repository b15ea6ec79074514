"""VeRA: two random matrices that all modules share, of which each takes a corner, between two trained vectors.

    W = W_0 + diag(b) B[:out] diag(d) A[:, :in]

Without ``save_projection`` A and B are not in the file: A (r, widest in) and then B (widest out, r) are drawn uniformly
within sqrt(6 / columns), in float32, by torch's generator with ``projection_prng_key``.

Source: arXiv 2310.11454, peft 0.21.2, which draws them on the CPU.  Differs: computed in float64 and rounded once.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.adapter.kinds.kind import (
    LAYERS,
    MODULES,
    Kind,
    Parts,
    Read,
    Rows,
    Settings,
    Update,
    need,
    need_rank,
)

if TYPE_CHECKING:
    from torch import Tensor


#: Elements of one drawn matrix at most, so that a small file cannot ask for all memory.
MAX_DRAWN = 1 << 28
_A, _B = "base_model.vera_A", "base_model.vera_B"


@dataclass(frozen=True, kw_only=True)
class VectorUpdate(Update):
    """b and d of one module; ``shared`` holds A and B where they are stored, else ``key`` draws them.

    ``widest`` is (out, in) over all modules, which a base says.
    """

    shared: Parts
    key: int
    widest: tuple[int, int] = (0, 0)
    turns = True

    @property
    def rank(self) -> int:
        """Return r."""
        return self.parts["vera_lambda_d"].numel

    def fits(self, shape: tuple[int, ...]) -> bool:
        """As ``Update.fits``."""
        if len(shape) != 2 or shape[0] != self.parts["vera_lambda_b"].numel:
            return False
        return not self.shared or (shape[0] <= self.shared[_B].shape[0] and shape[1] <= self.shared[_A].shape[1])

    def rows(self, read: Read, shape: tuple[int, ...], *, transposed: bool) -> Rows:
        """As ``Update.rows``."""
        out, width = reversed(shape) if transposed else shape
        if self.shared:
            a, b = (read(self.shared[name].name) for name in (_A, _B))
        else:
            a, b = _drawn(self.key, self.rank, *self.widest)
        outer, inner = (read(self.parts[f"vera_lambda_{end}"].name).double() for end in "bd")
        left, right = outer[:, None] * b[:out].double(), inner[:, None] * a[:, :width].double()
        if transposed:
            left, right = right.T.contiguous(), left.T
        return lambda rows, first, last: rows.addmm_(left[first:last], right)


@functools.lru_cache(maxsize=2)
def _drawn(key: int, rank: int, out: int, width: int) -> "tuple[Tensor, Tensor]":
    """Return A and B as peft draws them."""
    import torch

    generator = torch.Generator(device="cpu").manual_seed(key)
    bounds = ((rank, width), sqrt(6 / width)), ((out, rank), sqrt(6 / rank))
    a, b = (
        torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator) for shape, bound in bounds
    )
    return a, b


def _make(module: str, parts: Parts, shared: Parts, config: Settings) -> Update:
    outer, inner = need(parts, "vera_lambda_b", "vera_lambda_d")
    if len(outer.shape) != 1 or len(inner.shape) != 1:
        raise ValueError(f"shapes {outer.shape} and {inner.shape}; two vectors")
    need_rank(config.rank(module), ("vera_lambda_d", inner.numel))
    saved, key = config.document.get("save_projection", True), config.document.get("projection_prng_key")
    if not saved:
        if type(key) is not int or not -(2**63) <= key < 2**64:
            raise ValueError("save_projection is false, and projection_prng_key is no number that could draw A and B")
        return VectorUpdate(module=module, parts=parts, shared={}, key=key)
    if set(shared) != {_A, _B}:
        raise ValueError("save_projection is true, and vera_A and vera_B are missing")
    if any(len(info.shape) != 2 for info in shared.values()):
        raise ValueError(f"vera_A and vera_B have shapes {[info.shape for info in shared.values()]}; two matrices")
    need_rank(inner.numel, ("vera_A", shared[_A].shape[0]), ("vera_B", shared[_B].shape[1]))
    return VectorUpdate(module=module, parts=parts, shared=shared, key=0)


def _settled(updates: Sequence[tuple[Update, tuple[int, ...]]]) -> list[Update]:
    widest = max(shape[0] for _, shape in updates), max(shape[1] for _, shape in updates)
    found = list[Update]()
    for update, _ in updates:
        assert isinstance(update, VectorUpdate)
        if not update.shared and max(widest) * update.rank > MAX_DRAWN:
            raise ValueError(f"rank {update.rank} asks for more than {MAX_DRAWN} random numbers a matrix")
        found.append(replace(update, widest=widest))
    return found


_KEYS = MODULES | LAYERS | frozenset((
    "r", "projection_prng_key", "save_projection", "vera_dropout", "d_initial", "fan_in_fan_out", "bias",
    "init_weights",
))  # fmt: skip
VERA = Kind(
    name="VERA",
    ends=("vera_lambda_b", "vera_lambda_d"),
    keys=_KEYS,
    make=_make,
    shared=(_A, _B),
    settled=_settled,
)
