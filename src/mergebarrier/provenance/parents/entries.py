"""What is kept of the weights: inner products of whole tensors, and some entries with what each recipe would drop.

    d = suspect - base,   tau_j = candidate_j - base;   G = <tau_i, tau_j>,  h = <tau_j, d>,  e = <d, d>  per tensor
    kept(j, density) of a sampled entry: whether it is among the max(1, floor(density n)) largest of its whole tensor

What TIES and its kin drop depends on a candidate alone and never on its weight, so it is found once, over the whole
tensor, and a recipe is then replayed on the sample entry by entry.  Changes of models in a short dtype take few values:
of those that lie on the edge some are kept and some are not, and which is up to the tool, so they are marked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import np, torch
from mergebarrier.numerics import draws

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

#: Densities that a recipe is looked for at.
DENSITIES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
#: Share of the largest entries that breadcrumbs drops first, as mergekit does by default.
GAMMA: Final = 0.01
#: Bits of a mask.
KEPT: Final = 1
EDGE: Final = 2
#: Entries of a tensor that are kept.
PER_TENSOR: Final = 6000
#: Entries that are looked at together: beside them, a few bytes per entry of the largest tensor are all that is held.
_BLOCK: Final = 1 << 18


@dataclass(frozen=True)
class TensorSums:
    """Inner products of one tensor per row, float64: "T m m", "T m" and "T"."""

    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    energy: NDArray[np.float64]

    @classmethod
    def stacked(cls, parts: Sequence[TensorSums]) -> TensorSums:
        """Join tensors."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("gram", "cross", "energy")))

    def signed(self, signs: NDArray[np.float64]) -> TensorSums:
        """Return the products of candidates whose changes are taken with signs."""
        return TensorSums(self.gram * np.outer(signs, signs), self.cross * signs, self.energy)


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Sampled entries of all tensors, one behind the other.

    Attributes:
      base, suspect: Float32[Tensor, "n"].
      taus:  Float32[Tensor, "m n"].
      masks: UInt8[Tensor, "2 2 densities m n"], ``KEPT`` where an entry is among the largest with ties in flat order,
             ``EDGE`` where it lies on the edge; by whether the very largest are dropped first, and by whether changes
             are rounded to the dtype before they are cut.  Density 1 is left out.
      dtype: that the suspect is stored in.
    """

    base: Tensor
    suspect: Tensor
    taus: Tensor
    masks: Tensor
    dtype: torch.dtype

    @property
    def change(self) -> Tensor:
        """Return d."""
        return self.suspect - self.base

    def mask(self, density: float, *, middle: bool, rounded: bool) -> Tensor:
        """Return the masks of one cut, UInt8[Tensor, "m n"]."""
        return self.masks[int(middle), int(rounded), DENSITIES.index(density)]

    def some(self, count: int) -> Entries:
        """Return evenly spread entries, at most ``count``."""
        if len(self.base) <= count:
            return self
        return self.at(torch.arange(count) * len(self.base) // count)

    def slice(self, part: int, parts: int) -> Entries:
        """Return one of several stretches of the tensors."""
        count = len(self.base)
        return self.at(torch.arange(part * count // parts, (part + 1) * count // parts))

    def at(self, places: Tensor) -> Entries:
        """Return some entries."""
        return Entries(
            base=self.base[places],
            suspect=self.suspect[places],
            taus=self.taus[:, places],
            masks=self.masks[..., places],
            dtype=self.dtype,
        )

    def signed(self, signs: NDArray[np.float64]) -> Entries:
        """Return the entries with the candidates' changes taken with signs; what a recipe keeps is the same."""
        return replace(self, taus=self.taus * torch.from_numpy(signs).float()[:, None])

    def unmasked(self) -> Entries:
        """Return the entries without masks, which are most of them."""
        return replace(self, masks=self.masks[:, :, :0])


def sums_of(base: Tensor, candidates: Sequence[Tensor], suspect: Tensor) -> TensorSums:
    """Return the inner products of one tensor; float32 products of some entries at a time are summed in float64."""
    count = len(candidates)
    whole = torch.zeros(count + 1, count + 1, dtype=torch.float64)
    for start in range(0, base.numel(), _BLOCK):
        flat = _block(base, start)
        changes = torch.stack([_block(one, start) - flat for one in (*candidates, suspect)])
        whole += (changes @ changes.T).double()
    products = whole.numpy()[None]
    return TensorSums(products[:, :count, :count], products[:, :count, count], products[:, count, count])


def _block(tensor: Tensor, start: int) -> Tensor:
    """Return some entries of a tensor in flat order, float32."""
    return tensor.reshape(-1)[start : start + _BLOCK].float()


def entries_of(base: Tensor, candidates: Sequence[Tensor], suspect: Tensor, *, seed: int, name: str) -> Entries:
    """Sample one tensor; one candidate at a time is looked at as a whole."""
    flat, count = base.reshape(-1), base.numel()
    places = torch.arange(count)
    if count > PER_TENSOR:
        places = draws.below(("provenance", seed, f"entries|{name}"), count, PER_TENSOR).unique()
    at = flat[places].float()
    masks = torch.empty(2, 2, len(DENSITIES), len(candidates), len(places), dtype=torch.uint8)
    for number, candidate in enumerate(candidates):
        sizes, short = (_sizes(base, candidate, dtype) for dtype in (None, suspect.dtype))
        masks[:, 0, :, number] = torch.from_numpy(_kept(sizes, places.numpy()))
        # Most changes of a small fine-tune are short already.
        same = np.array_equal(sizes, short)
        masks[:, 1, :, number] = masks[:, 0, :, number] if same else torch.from_numpy(_kept(short, places.numpy()))
    return Entries(
        base=at,
        suspect=suspect.reshape(-1)[places].float(),
        taus=torch.stack([one.reshape(-1)[places].float() - at for one in candidates]),
        masks=masks,
        dtype=suspect.dtype,
    )


def _sizes(base: Tensor, candidate: Tensor, dtype: torch.dtype | None) -> NDArray[np.float32]:
    """Return the sizes of a candidate's changes, rounded to a dtype where one is given, Float32["n"]."""
    found = np.empty(base.numel(), np.float32)
    for start in range(0, len(found), _BLOCK):
        change = _block(candidate, start) - _block(base, start)
        found[start : start + _BLOCK] = (change if dtype is None else change.to(dtype).float()).abs().numpy()
    return found


def joined(parts: Sequence[Entries]) -> Entries:
    """Join the samples of tensors."""
    return Entries(
        base=torch.cat([part.base for part in parts]),
        suspect=torch.cat([part.suspect for part in parts]),
        taus=torch.cat([part.taus for part in parts], -1),
        masks=torch.cat([part.masks for part in parts], -1),
        dtype=parts[0].dtype,
    )


def _kept(sizes: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Say of sampled entries whether they are among the largest, and among those below the very largest."""
    ordered, n = _Ordered(sizes), len(sizes)
    found = np.empty((2, len(DENSITIES), len(places)), np.uint8)
    for number, density in enumerate(DENSITIES):
        count = int(density * n)
        found[0, number] = ordered.among(places, max(1, count))
        outliers = min(int(GAMMA * n), n - count)
        wide, most = ordered.among(places, outliers + count), ordered.among(places, outliers)
        found[1, number] = np.where(most & KEPT, 0, wide & KEPT).astype(np.uint8) | ((wide | most) & np.uint8(EDGE))
    return found


class _Ordered:
    """Sizes of a whole tensor in order."""

    def __init__(self, sizes: NDArray[np.float32]) -> None:
        self._sizes, self._ordered = sizes, np.sort(sizes)

    def among(self, places: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
        """Say of some entries whether they are among the ``count`` largest, ties in flat order, and where those are."""
        if count <= 0:
            return np.zeros(len(places), np.uint8)
        threshold = self._ordered[len(self._ordered) - count]
        below, upto = (int(np.searchsorted(self._ordered, threshold, side)) for side in ("left", "right"))
        above, mine = len(self._ordered) - upto, self._sizes[places]
        equal = mine == threshold
        if above + upto - below == count:
            return np.asarray((mine >= threshold) * np.uint8(KEPT))
        kept = (mine > threshold) | (equal & (places <= self._tie(float(threshold), count - above)))
        return np.asarray(kept * np.uint8(KEPT) | equal * np.uint8(EDGE))

    def _tie(self, size: float, number: int) -> int:
        """Return the place of the ``number``-th entry of a size."""
        for start in range(0, len(self._sizes), _BLOCK):
            equal = self._sizes[start : start + _BLOCK] == np.float32(size)
            here = int(np.count_nonzero(equal))
            if number <= here:
                return start + int(np.flatnonzero(equal)[number - 1])
            number -= here
        raise AssertionError("fewer entries of a size than were counted")
