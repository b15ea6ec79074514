"""Thin a task vector: keep its largest entries, or a random share, and rescale what is left.

    S(tau) = f * keep(tau);   f = |tau|_q / |keep(tau)|_q ("l1", "l2", "linf") | 1 / p ("inverse") | 1 ("none")

"l1" is mergekit 0.1.5's rescale, "inverse" the DARE paper's (arXiv 2311.03099). A sparsifier is a pure function of the
flat index, so a block may be thinned twice, alone, or in any order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from mergebarrier.lazy import np, torch
from mergebarrier.merge.arithmetic import largest
from mergebarrier.merge.arithmetic.operands import Operands, head, require_finite
from mergebarrier.numerics import aes

if TYPE_CHECKING:
    from numpy.typing import NDArray


RESCALES = ("l1", "l2", "linf", "inverse", "none")
_NEGLIGIBLE = 1e-7  # mergekit 0.1.5: an L1 norm below this is not rescaled


class Sparsifier(Protocol):
    """Thins a block of a task vector in place."""

    @property
    def kept_frac(self) -> float:
        """The share of entries that the rule keeps, exactly or in expectation."""
        ...

    def thin(self, block: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
        """Zero the dropped entries of ``block``, whose first flat index is ``start``; ``scratch`` is overwritten."""
        ...


@dataclass(frozen=True)
class KeepAll:
    """Density 1."""

    kept_frac: float = 1.0

    def thin(self, block: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
        """Return ``block`` unchanged."""
        del start, scratch
        return block


@dataclass(frozen=True)
class KeepNone:
    """Density 0."""

    kept_frac: float = 0.0

    def thin(self, block: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
        """Zero ``block``."""
        del start, scratch
        return block.zero_()


def _keep_above(block: torch.Tensor, cut: largest.Cut, start: int, out: torch.Tensor) -> torch.Tensor:
    """Put what the cut keeps of ``block``, and zeros else, into ``out``, which may be the block itself."""
    ties = cut.last + 1 - start  # entries equal to the threshold stay before here
    if ties <= 0:
        return torch.hardshrink(block, cut.threshold, out=out)
    if ties >= block.numel():
        return torch.hardshrink(block, _just_below(cut.threshold, block.dtype), out=out)
    _keep_above(block[:ties], cut, start, out[:ties])
    _keep_above(block[ties:], cut, start + ties, out[ties:])
    return out


def _just_below(threshold: float, dtype: torch.dtype) -> float:
    """Return the next smaller magnitude, so that "larger than" means "not smaller than"; zeros are zeros either way."""
    value = torch.tensor([threshold], dtype=dtype)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    return (value.view(bits) - 1).view(dtype).item() if threshold else 0.0


@dataclass(frozen=True)
class KeepLargest:
    """Exactly k entries of largest magnitude of the whole tensor."""

    kept_frac: float
    cut: largest.Cut

    def thin(self, block: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
        """Zero what the cut drops."""
        del scratch
        return _keep_above(block, self.cut, start, block)


@dataclass(frozen=True)
class KeepBetween:
    """What ``wide`` keeps and ``outliers`` (the largest of them) does not."""

    kept_frac: float
    wide: largest.Cut
    outliers: largest.Cut

    def thin(self, block: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
        """Zero what the wide cut drops and what the outliers' cut keeps."""
        kept = _keep_above(block, self.wide, start, block)
        return kept.sub_(_keep_above(kept, self.outliers, start, head(scratch, block.numel())))


@dataclass(frozen=True)
class KeepBits:
    """The entries whose bit is set, in flat order; an eighth of a byte each, so that no mask is made twice."""

    kept_frac: float
    bits: NDArray[np.uint8]

    def thin(self, block: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
        """Zero the entries whose bit is not set."""
        stop = start + block.numel()
        bits = np.unpackbits(self.bits[start // 8 : -(-stop // 8)])[start % 8 :][: block.numel()]
        return block.mul_(head(scratch, block.numel()).copy_(torch.from_numpy(bits)))


@dataclass(frozen=True)
class KeepDrawn:
    """The same as ``KeepBits``, drawn again for every block: for tensors that are not held either."""

    key: bytes
    levels: int

    @property
    def kept_frac(self) -> float:
        """The share of entries that are drawn."""
        return self.levels / aes.LEVELS

    def thin(self, block: torch.Tensor, start: int, scratch: torch.Tensor) -> torch.Tensor:
        """Zero the entries that are not drawn."""
        bits = aes.bits(self.key, block.numel(), self.levels, start=start)
        return KeepBits(self.kept_frac, bits).thin(block, 0, scratch)


def magnitudes(
    operands: Operands, indices: Collection[int], first: int = 0
) -> Iterator[tuple[int, largest.Magnitudes]]:
    """Yield the magnitudes of task vectors from block ``first`` on, each with its index; arrays are a reused buffer."""
    base_buffer, tau = operands.buffer(), operands.buffer()
    for start, stop in islice(operands.spans(), first, None):
        base = operands.load_base(start, stop, base_buffer)
        for index in indices:
            block = operands.load_task_vector(index, start, stop, base, tau).abs_()
            require_finite(block, operands.name, "task vector")
            yield index, (block if operands.dtype == torch.float64 else block.float()).numpy()


def samples(operands: Operands) -> tuple[torch.Tensor, torch.Tensor]:
    """Return places, (runs, length), and all task vectors there, (experts, runs, length)."""
    places = torch.from_numpy(largest.places(operands.size, largest.RUNS if operands.streamed else 0))
    return places, operands.sample(places)


def by_magnitude(operands: Operands, densities: Sequence[float]) -> list[Sparsifier]:
    """Keep the max(1, floor(density * n)) largest entries of every task vector; ties by flat index."""
    return between(operands, densities, [0.0] * len(densities), least=1)


def between(
    operands: Operands, densities: Sequence[float], gammas: Sequence[float], *, least: int = 0
) -> list[Sparsifier]:
    """Drop the floor(gamma n) largest entries of each task vector, then keep the floor(density n) next ones.

    Where fewer than floor(density n) are left, the smallest floor(density n) are kept; ties by flat index.

    Args:
      operands:  the tensors.
      densities: per expert; 1 drops nothing.
      gammas:    per expert.
      least:     entries that stay at least where the density is above 0.
    """
    size, found, ks = operands.size, dict[int, Sparsifier](), dict[int, list[int]]()
    for index, (density, gamma) in enumerate(zip(densities, gammas, strict=True)):
        kept = max(least, int(density * size)) if density > 0 else 0
        outliers = min(int(gamma * size), size - kept)
        if density >= 1 or not size:
            found[index] = KeepAll()
        elif not kept:
            found[index] = KeepNone()
        else:
            ks[index] = [outliers + kept, *([outliers] if outliers else [])]
    for index, cuts in _cuts(operands, ks).items() if ks else ():
        kind = KeepBetween if len(cuts) > 1 else KeepLargest
        found[index] = kind(densities[index], *cuts)
    return [found[index] for index in range(len(densities))]


def _cuts(operands: Operands, ks: Mapping[int, Sequence[int]]) -> dict[int, list[largest.Cut]]:
    _, taus = samples(operands)
    chosen = (taus if operands.dtype == torch.float64 else taus.float()).abs_().numpy()
    return largest.largest(partial(magnitudes, operands), dict(enumerate(chosen)), operands.size, ks)


def at_random(operands: Operands, densities: Sequence[float], *, seed: int, method: str) -> list[Sparsifier]:
    """Keep each entry of every task vector with the probability ``density``, rounded to 16 bits."""
    found: list[Sparsifier] = []
    for index, density in enumerate(densities):
        levels, key = aes.levels(density), aes.stream_key(seed, method, index, operands.name)
        if density >= 1:
            found.append(KeepAll())
        elif density <= 0:
            found.append(KeepNone())
        elif operands.streamed:
            found.append(KeepDrawn(key, levels))
        else:
            found.append(KeepBits(levels / aes.LEVELS, aes.bits(key, operands.size, levels)))
    return found


def factors(operands: Operands, sparsifiers: Sequence[Sparsifier], rescale: str) -> list[float]:
    """Return the factor f of the module docstring for every task vector; norms are summed in float64."""
    thinned = {i: part for i, part in enumerate(sparsifiers) if not isinstance(part, KeepAll | KeepNone)}
    found = [1.0] * len(sparsifiers)
    if rescale == "inverse":
        for index, part in thinned.items():
            found[index] = 1.0 / part.kept_frac
    elif rescale != "none" and thinned:
        for index, (before, after) in _norms(operands, thinned, rescale).items():
            found[index] = 1.0 if before < _NEGLIGIBLE or after < _NEGLIGIBLE else before / after
    return found


def _norms(operands: Operands, thinned: Mapping[int, Sparsifier], rescale: str) -> dict[int, tuple[float, float]]:
    """Return the norms of task vectors before and after, all in one pass."""
    before, after = (dict.fromkeys(thinned, 0.0) for _ in range(2))
    base_buffer, tau, scratch = (operands.buffer() for _ in range(3))
    for start, stop in operands.spans():
        base = operands.load_base(start, stop, base_buffer)
        for index, sparsifier in thinned.items():
            block = operands.load_task_vector(index, start, stop, base, tau).abs_()
            before[index] = _add(before[index], block, rescale)
            after[index] = _add(after[index], sparsifier.thin(block, start, scratch), rescale)
    power = 0.5 if rescale == "l2" else 1.0
    return {index: (before[index] ** power, after[index] ** power) for index in thinned}


def _add(total: float, magnitudes: torch.Tensor, norm: str) -> float:
    if norm == "linf":
        return max(total, magnitudes.max().item())
    return total + (magnitudes.double().square() if norm == "l2" else magnitudes).sum(dtype=torch.float64).item()
