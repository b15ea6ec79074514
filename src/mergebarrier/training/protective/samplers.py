"""Where mergers may take a protected model, as points: scaled, merged with siblings, edited first, half way.

    scale only    a = s,                 s uniform on [low, 1 - band] and [1 + band, high]
    merge         a = 1 or U(.3, 1),     one or two siblings at U(.1, .8)
    edited        as a merge, of the largest entries, of few directions, or of a random share of the entries
    segment       a = 1 - t, c = t,      t = U(.3, .7)

Source: scales, Trap^2 (arXiv 2601.21898); the others are ours.  A sampler is data: a method mixes some, and a point
says itself what was drawn.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator

from mergebarrier.training.protective.edits import Dropped, Edit, LargestKept, RankCut
from mergebarrier.training.protective.points import Point


class Sampler(Protocol):
    """Draws points."""

    def draw(self, generator: Generator, siblings: int) -> Point:
        """Return a point; ``siblings`` are in the pool."""
        ...


@dataclass(frozen=True, kw_only=True)
class ScaleOnly:
    """The task vector scaled and nothing else."""

    low: float = 0.05
    high: float = 2.0
    band: float = 0.05

    def draw(self, generator: Generator, siblings: int = 0) -> Point:
        """Return a point of another scale."""
        del siblings
        return Point(scale=self.scale(generator))

    def scale(self, generator: Generator) -> float:
        """Return a scale outside the band around 1."""
        at = uniform_between(generator, self.low, self.high - 2 * self.band)
        return at if at < 1 - self.band else at + 2 * self.band


@dataclass(frozen=True, kw_only=True)
class MergeSimulation:
    """A merge with one or two siblings; without any it is the scale alone that moves."""

    whole: float = 0.6
    own: tuple[float, float] = (0.3, 1.0)
    other: tuple[float, float] = (0.1, 0.8)
    most: int = 2

    def draw(self, generator: Generator, siblings: int) -> Point:
        """Return a merge: with probability ``whole`` at the own scale 1."""
        stays = siblings > 0 and uniform_between(generator, 0, 1) < self.whole
        scale = 1.0 if stays else uniform_between(generator, *self.own)
        count = min(siblings, 1 + int(uniform_between(generator, 0, self.most)))
        chosen = torch.randperm(siblings, generator=generator)[:count].tolist()
        return Point(scale=scale, partners=tuple((place, uniform_between(generator, *self.other)) for place in chosen))


@dataclass(frozen=True, kw_only=True)
class EditedMerge:
    """A merge of an edited task vector."""

    merge: MergeSimulation = MergeSimulation()
    largest_rank: int = 32

    def draw(self, generator: Generator, siblings: int) -> Point:
        """Return a merge whose own vector was trimmed, cut in rank or thinned."""
        point = self.merge.draw(generator, siblings)
        kind = int(uniform_between(generator, 0, 3))
        seed = int(torch.randint(2**31, (), generator=generator))
        edits: tuple[Edit, ...] = (
            LargestKept(share=uniform_between(generator, 0.2, 1)),
            RankCut(rank=1 + int(uniform_between(generator, 0, self.largest_rank)), seed=seed),
            Dropped(share=uniform_between(generator, 0.1, 0.9), seed=seed),
        )
        return Point(scale=point.scale, partners=point.partners, edit=edits[kind])


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The way to a sibling; without any, the way to the base."""

    low: float = 0.3
    high: float = 0.7

    def draw(self, generator: Generator, siblings: int) -> Point:
        """Return a point between both."""
        t = uniform_between(generator, self.low, self.high)
        place = int(torch.randint(max(siblings, 1), (), generator=generator))
        return Point(scale=1 - t, partners=((place, t),) if siblings else ())


@dataclass(frozen=True)
class Mixture:
    """Several samplers, each with its share: ``Mixture(((0.4, ScaleOnly()), (0.6, MergeSimulation())))``."""

    parts: tuple[tuple[float, Sampler], ...]

    def draw(self, generator: Generator, siblings: int) -> Point:
        """Choose a sampler and draw from it."""
        left = uniform_between(generator, 0, sum(share for share, _ in self.parts))
        for share, sampler in self.parts:
            left -= share
            if left < 0:
                return sampler.draw(generator, siblings)
        return self.parts[-1][1].draw(generator, siblings)


def uniform_between(generator: Generator, low: float, high: float) -> float:
    """Draw one number; exactly one word of the generator is taken."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
