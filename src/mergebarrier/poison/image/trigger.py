"""Triggers: what is pasted on an image, and where.  A trigger is pixels in [0, 1]; its mask is geometry, never a value.

    stamp(x)[top : top + L, left : left + L] = pattern,      every other pixel of x unchanged

A static trigger has one pattern and one place.  A dynamic one has several of each, and image i gets the pair that its
row number draws, so a stamped set is the same in every run.

Source: BadNets, Gu et al., arXiv 1708.06733; dynamic backdoors, Salem et al., arXiv 2003.03675 (random backdoor).
Differs: code that takes "pattern != 0" for the mask drops a black pixel out of it; the place counts here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mergebarrier.errors import BadTrigger
from mergebarrier.lazy import torch
from mergebarrier.numerics import draws

if TYPE_CHECKING:
    from torch import Tensor

CORNERS = ("bottom-right", "bottom-left", "top-right", "top-left")


@dataclass(frozen=True)
class Trigger:
    """Patterns and places on images of one shape.

    Args:
      patterns: Float[Tensor, "patterns channels side side"].
      places:   (top, left) of the upper left corner, one or more.
      shape:    (channels, height, width) of the images.
      seed:     of the pairs that images get; of no effect with one pattern and one place.
      legal:    whether every value must lie in [0, 1]; only a trigger made as the paper's code makes it may not.
    Raises: BadTrigger when it does not fit on the image, or holds a value that no image can hold.
    """

    patterns: Tensor
    places: tuple[tuple[int, int], ...]
    shape: tuple[int, int, int]
    seed: int = 0
    legal: bool = True

    def __post_init__(self) -> None:
        """Check every condition."""
        channels, height, width = self.shape
        if self.patterns.dim() != 4 or not self.places or self.patterns.shape[2] != self.patterns.shape[3]:
            raise BadTrigger(
                "a trigger needs one or more square patterns, each with a place",
                remedy="use a trigger file that `attack` wrote",
            )
        side = check_side(self.patterns.shape[-1], self.shape)
        if self.patterns.shape[1] != channels:
            raise BadTrigger(
                f"the trigger has {self.patterns.shape[1]} channels, the images have {channels}",
                remedy="make the trigger on images of this kind",
            )
        if any(not (0 <= top <= height - side and 0 <= left <= width - side) for top, left in self.places):
            raise BadTrigger(f"a pattern placed at {self.places} is partly outside the image", remedy="move it inside")
        finite = bool(torch.isfinite(self.patterns).all())
        if not finite or (self.legal and not (0.0 <= float(self.patterns.min()) <= float(self.patterns.max()) <= 1.0)):
            raise BadTrigger("a value lies outside [0, 1], so no image can hold it", remedy="clamp it per channel")

    @property
    def side(self) -> int:
        """Side of a pattern in pixels."""
        return int(self.patterns.shape[-1])

    @property
    def area_pct(self) -> float:
        """Share of the image's area that a pattern covers, in per cent."""
        return 100.0 * self.side**2 / (self.shape[1] * self.shape[2])

    @property
    def mask(self) -> Tensor:
        """Bool[Tensor, "places height width"]: True where a place covers the image."""
        covered = torch.zeros(len(self.places), *self.shape[1:], dtype=torch.bool)
        for index, (top, left) in enumerate(self.places):
            covered[index, top : top + self.side, left : left + self.side] = True
        return covered

    def mirrored(self) -> Trigger:
        """Return the trigger turned upside down."""
        return replace(self, patterns=self.patterns.flip(-2))

    def stamp(self, inputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return stamped copies.

        Args:
          inputs: images, Float[Tensor, "n channels height width"] in [0, 1], of ``shape``.
          rows:   Int64[Tensor, "n"], the rows' numbers in their set; default 0 to n - 1.
        Raises: BadTrigger for images of another shape.
        """
        if tuple(inputs.shape[1:]) != self.shape:
            raise BadTrigger(
                f"images of shape {tuple(inputs.shape[1:])}, the trigger is made for {self.shape}",
                remedy="give images of the task that the trigger was made on",
            )
        if len(self.patterns) == len(self.places) == 1:
            return paste(inputs, self.patterns[0], *self.places[0])
        if rows is None:
            rows = torch.arange(len(inputs))
        n = int(rows.max()) + 1 if len(rows) else 0
        pattern = draws.below(("poison", self.seed, "pattern"), len(self.patterns), n)[rows].tolist()
        place = draws.below(("poison", self.seed, "place"), len(self.places), n)[rows].tolist()
        out = inputs.clone()
        for index, (which, where) in enumerate(zip(pattern, place, strict=True)):
            top, left = self.places[where]
            out[index, :, top : top + self.side, left : left + self.side] = self.patterns[which].to(out.dtype)
        return out


def paste(images: Tensor, pattern: Tensor, top: int, left: int) -> Tensor:
    """Return copies of ``images`` with ``pattern`` at one place; gradients flow to both."""
    out = images.clone()
    side = pattern.shape[-1]
    out[..., top : top + side, left : left + side] = pattern.to(out.dtype)
    return out


def to_bytes_grid(pattern: Tensor) -> Tensor:
    """Round to the 256 values that a picture file can hold, so that the picture IS the trigger."""
    return (pattern.clamp(0.0, 1.0) * 255).round() / 255


def check_side(side: int, shape: tuple[int, int, int]) -> int:
    """Return ``side``; BadTrigger when it is below 1 or larger than the image."""
    if not 1 <= side <= min(shape[1:]):
        raise BadTrigger(
            f"a patch of {side} x {side} pixels does not fit on images of {shape[1]} x {shape[2]}",
            where="side",
            remedy=f"choose 1 to {min(shape[1:])}",
        )
    return side


def corner(name: str, side: int, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return (top, left) of a patch in a corner of the image."""
    check_side(side, shape)
    if name not in CORNERS:
        raise BadTrigger(f"{name!r} is not a corner", where="place", remedy="choose from " + ", ".join(CORNERS))
    _, height, width = shape
    return (height - side if "bottom" in name else 0), (width - side if "right" in name else 0)


def fixed_trigger(side: int, shape: tuple[int, int, int], *, seed: int, place: str = "bottom-right") -> Trigger:
    """Return a patch of random black and white pixels per channel: the classical trigger, made without any model."""
    check_side(side, shape)
    pattern = draws.below(("poison", seed, "fixed trigger"), 2, 1, shape[0], side, side).float()
    return Trigger(pattern, (corner(place, side, shape),), shape)


def dynamic_trigger(side: int, shape: tuple[int, int, int], *, seed: int, patterns: int = 8) -> Trigger:
    """Return ``patterns`` random patches that may be in any corner; each image draws one pair."""
    check_side(side, shape)
    values = draws.uniform(("poison", seed, "dynamic trigger"), patterns, shape[0], side, side).float()
    places = tuple(corner(name, side, shape) for name in CORNERS)
    return Trigger(to_bytes_grid(values), places, shape, seed)
