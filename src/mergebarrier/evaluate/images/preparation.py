"""What happens to pictures before an encoder reads them: size, mean and deviation, as the folder says.

Source: the image processors of transformers, read from ``preprocessor_config.json``.  Differs: pictures are resized to
the final size at once, without a crop; a folder that does not say mean, deviation and size is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadConfig, UnsupportedFeature, clean

PROCESSOR = "preprocessor_config.json"
MAX_SIDE = 1024


@dataclass(frozen=True)
class Preparation:
    """What happens to pixels in [0, 1]: the side that the body reads, and mean and deviation per channel."""

    side: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def read_preparation(checkpoint: Checkpoint) -> Preparation:
    """Read what a folder says about its pictures; UnsupportedFeature without the file, BadConfig for nonsense."""
    where = checkpoint.path / PROCESSOR
    if PROCESSOR not in checkpoint.side_files:
        raise UnsupportedFeature(
            "the folder does not say size, mean and deviation of its pictures",
            where=where,
            remedy="copy the file from the folder of the base",
        )

    def bad(what: str) -> BadConfig:
        return BadConfig(what, where=where, remedy="copy the file from the folder of the base")

    said = parse_text(checkpoint.read_side_file(PROCESSOR), bad, where=where)
    try:
        if not isinstance(said, dict):
            raise TypeError("not a table")
        crop = said.get("crop_size") if said.get("do_center_crop", True) else None
        side = _side(crop if crop is not None else said["size"])
        mean, deviation = (tuple(float(value) for value in said[key]) for key in ("image_mean", "image_std"))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise bad("not a table with size, image_mean and image_std") from error
    sound = len(mean) == len(deviation) and len(mean) in (1, 3) and all(map(math.isfinite, (*mean, *deviation)))
    if not (sound and all(value > 0 for value in deviation) and 1 <= side <= MAX_SIDE):
        raise bad(f"size {side}, mean {clean(list(mean))} or deviation {clean(list(deviation))} is out of range")
    return Preparation(side, mean, deviation)


def _side(size: object) -> int:
    if isinstance(size, dict):
        sides: Sequence[object] = [size[key] for key in ("shortest_edge", "height", "width") if key in size]
        if not sides or any(side != sides[0] for side in sides):
            raise ValueError("not a square")
        size = sides[0]
    if type(size) is not int:
        raise ValueError("not a size")
    return size
