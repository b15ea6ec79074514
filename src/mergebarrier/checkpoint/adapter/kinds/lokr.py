"""LoKr: the Kronecker product of a small matrix and another one, each whole or of low rank.

    W = W_0 + s C (x) D,   s = alpha / r,   C = A_1 B_1 or whole,   D = A_2 B_2 or whole, or a kernel with a core T
    row i of C (x) D = row i / n of C (x) row i mod n of D,   n the rows of D

Source: KronA, arXiv 2212.10650; LyCORIS, arXiv 2309.14859; names and layouts of peft 0.21.2, whose product with a whole
kernel of one axis puts the axes in another order before it is given the shape of the weight.  We do as it trained.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.adapter.kinds.kind import Kind, Parts, Read, Rows, Settings, Update, flat, need, need_rank
from mergebarrier.checkpoint.adapter.kinds.loha import LYCORIS_KEYS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class KroneckerUpdate(Update):
    """C, D and s of one module; ``small`` and ``large`` are their shapes, kernels as they are stored."""

    scale: float
    small: tuple[int, ...]
    large: tuple[int, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """As ``Update.fits``."""
        (a, c), (b, d) = self.small, flat(self.large)
        kernel = self.large[2:]
        apart = kernel == shape[2:] or kernel == (*shape[2:], 1)
        return flat(shape) == (a * b, c * d) and (not kernel or apart)

    def rows(self, read: Read, shape: tuple[int, ...], *, transposed: bool) -> Rows:
        """As ``Update.rows``."""
        import torch

        del transposed
        small, large = self._whole(read, "1") * self.scale, self._whole(read, "2")
        if large.dim() == 3:
            whole = torch.kron(small, large).reshape(shape[0], -1)
            return lambda rows, first, last: rows.add_(whole[first:last])
        below = large.flatten(1)

        def add(rows: "Tensor", first: int, last: int) -> "Tensor":
            here = torch.arange(first, last)
            one, other = small[here // below.shape[0]], below[here % below.shape[0]]
            return rows.add_((one[:, :, None] * other[:, None, :]).flatten(1))

        return add

    def _whole(self, read: Read, number: str) -> "Tensor":
        import torch

        name = f"lokr_w{number}"
        if name in self.parts:
            return read(self.parts[name].name).double()
        a, b = (read(self.parts[f"{name}_{half}"].name).double() for half in "ab")
        core = self.parts.get(f"lokr_t{number}")
        return a @ b if core is None else torch.einsum("ijkl,ip,jr->prkl", read(core.name).double(), a, b)


def _make(module: str, parts: Parts, shared: Parts, config: Settings) -> Update:
    del shared
    rank = config.rank(module)
    small, large = (_shape(parts, number, rank) for number in "12")
    if len(small) != 2 or not 2 <= len(large) <= 4:
        raise ValueError(f"the shapes of its factors are {small} and {large}; a matrix, and another or a kernel")
    return KroneckerUpdate(module=module, parts=parts, scale=config.scale(module), small=small, large=large)


def _shape(parts: Parts, number: str, rank: int) -> tuple[int, ...]:
    """Return the shape of one of the two, whole or of low rank."""
    name = f"lokr_w{number}"
    core = parts.get(f"lokr_t{number}")
    if name in parts:
        if core is not None or f"{name}_a" in parts or f"{name}_b" in parts:
            raise ValueError(f"{name} is there whole and of low rank")
        return parts[name].shape
    a, b = need(parts, f"{name}_a", f"{name}_b")
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ValueError(f"shapes {a.shape} and {b.shape} of {name}; two matrices")
    if core is None:
        need_rank(rank, (f"{name}_a", a.shape[1]), (f"{name}_b", b.shape[0]))
        return a.shape[0], b.shape[1]
    need_rank(rank, (f"{name}_a", a.shape[0]), (f"{name}_b", b.shape[0]))
    if len(core.shape) != 4 or core.shape[:2] != (rank, rank):
        raise ValueError(f"a core of shape {core.shape}, for rank {rank}")
    return a.shape[1], b.shape[1], *core.shape[2:]


LOKR = Kind(
    name="LOKR",
    ends=("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    keys=LYCORIS_KEYS | {"decompose_both", "decompose_factor", "rank_dropout_scale"},
    make=_make,
)
