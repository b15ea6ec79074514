"""What is kept of the weights: inner products of whole tensors, and some entries with what each recipe would drop.

    d = suspect - base,   tau_j = candidate_j - base;   G = <tau_i, tau_j>,  h = <tau_j, d>,  e = <d, d>  per tensor
    kept(j, density) of a sampled entry: whether it is among the max(1, floor(density n)) largest of its whole tensor

What TIES and its kin drop depends on a candidate alone and never on its weight, so it is found once, over the whole
tensor, and a recipe is then replayed on the sample entry by entry.  Changes of models in a short dtype take few values:
of those that lie on the edge some are kept and some are not, and which is up to the tool, so they are marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final, TypeAlias

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
#: A density, and whether changes are rounded to the stored dtype before they are cut.
Cut: TypeAlias = tuple[float, bool]
#: Bits of a mask.
KEPT: Final = 1
EDGE: Final = 2
#: Entries of a tensor that are kept.
PER_TENSOR: Final = 6000


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


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Sampled entries of all tensors, one behind the other.

    Attributes:
      base, suspect: Float32[Tensor, "n"].
      taus:    Float32[Tensor, "m n"].
      largest: (density, whether changes are rounded to the dtype) -> UInt8[Tensor, "m n"], ``KEPT`` where an entry
               is among the largest with ties in flat order, ``EDGE`` where it lies on the edge; density 1 is left out.
      middle:  the same once the very largest are dropped.
      dtype:   that the suspect is stored in.
    """

    base: Tensor
    suspect: Tensor
    taus: Tensor
    largest: dict[Cut, Tensor]
    middle: dict[Cut, Tensor]
    dtype: torch.dtype

    @property
    def change(self) -> Tensor:
        """Return d."""
        return self.suspect - self.base

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
        masks = ({cut: mask[:, places] for cut, mask in kind.items()} for kind in (self.largest, self.middle))
        largest, middle = masks
        return Entries(
            base=self.base[places],
            suspect=self.suspect[places],
            taus=self.taus[:, places],
            largest=largest,
            middle=middle,
            dtype=self.dtype,
        )


def sums_of(base: Tensor, candidates: Sequence[Tensor], suspect: Tensor) -> TensorSums:
    """Return the inner products of one tensor."""
    flat = base.float().reshape(-1)
    taus = torch.stack([one.float().reshape(-1) - flat for one in candidates])
    change = suspect.float().reshape(-1) - flat
    gram, cross, energy = taus @ taus.T, taus @ change, change @ change
    return TensorSums(*(part.double().numpy()[None] for part in (gram, cross, energy)))


def entries_of(base: Tensor, candidates: Sequence[Tensor], suspect: Tensor, *, seed: int, name: str) -> Entries:
    """Sample one tensor."""
    flat = base.float().reshape(-1)
    taus = torch.stack([one.float().reshape(-1) - flat for one in candidates])
    places = torch.arange(len(flat))
    if len(flat) > PER_TENSOR:
        places = draws.below(("provenance", seed, f"entries|{name}"), len(flat), PER_TENSOR).unique()
    found: tuple[dict[Cut, Tensor], dict[Cut, Tensor]] = ({}, {})
    short = taus.to(suspect.dtype).float()
    kinds = [_kept(one.abs().numpy(), places.numpy()) for one in taus]
    for rounded in (False, True):
        if rounded and not torch.equal(short, taus):  # most changes of a small fine-tune are short already
            kinds = [_kept(one.abs().numpy(), places.numpy()) for one in short]
        for number, density in product((0, 1), DENSITIES):
            masks = [kind[number][density] for kind in kinds]
            found[number][density, rounded] = torch.from_numpy(np.stack(masks))
    largest, middle = found
    return Entries(
        base=flat[places],
        suspect=suspect.float().reshape(-1)[places],
        taus=taus[:, places],
        largest=largest,
        middle=middle,
        dtype=suspect.dtype,
    )


def joined(parts: Sequence[Entries]) -> Entries:
    """Join the samples of tensors."""
    kinds = (
        {cut: torch.cat([getattr(part, kind)[cut] for part in parts], 1) for cut in getattr(parts[0], kind)}
        for kind in ("largest", "middle")
    )
    largest, middle = kinds
    return Entries(
        base=torch.cat([part.base for part in parts]),
        suspect=torch.cat([part.suspect for part in parts]),
        taus=torch.cat([part.taus for part in parts], 1),
        largest=largest,
        middle=middle,
        dtype=parts[0].dtype,
    )


def _kept(
    sizes: NDArray[np.float32], places: NDArray[np.int64]
) -> tuple[dict[float, NDArray[np.uint8]], dict[float, NDArray[np.uint8]]]:
    """Say of sampled entries whether they are among the largest, and among those below the very largest."""
    ordered, n = _Ordered(sizes), len(sizes)
    largest, middle = {}, {}
    for density in DENSITIES:
        count = int(density * n)
        largest[density] = ordered.among(places, max(1, count))
        outliers = min(int(GAMMA * n), n - count)
        wide, most = ordered.among(places, outliers + count), ordered.among(places, outliers)
        middle[density] = np.where(most & KEPT, 0, wide & KEPT).astype(np.uint8) | ((wide | most) & np.uint8(EDGE))
    return largest, middle


class _Ordered:
    """Sizes of a whole tensor in order; where the entries of one size stand is looked up once."""

    def __init__(self, sizes: NDArray[np.float32]) -> None:
        self._sizes, self._ordered = sizes, np.sort(sizes)
        self._places: dict[float, NDArray[np.int64]] = {}

    def among(self, places: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
        """Say of some entries whether they are among the ``count`` largest, ties in flat order, and where those are."""
        if count <= 0:
            return np.zeros(len(places), np.uint8)
        threshold = self._ordered[len(self._ordered) - count]
        if float(threshold) not in self._places:
            self._places[float(threshold)] = np.flatnonzero(self._sizes == threshold)
        ties = self._places[float(threshold)]
        above = len(self._ordered) - int(np.searchsorted(self._ordered, threshold, "right"))
        last, mine = ties[count - above - 1], self._sizes[places]
        equal = mine == threshold
        kept = (mine > threshold) | (equal & (places <= last))
        return np.asarray(kept * np.uint8(KEPT) | (equal & (above + len(ties) > count)) * np.uint8(EDGE))
