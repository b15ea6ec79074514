"""Letters as pictures: five alphabets and the digits, drawn by nine faces, tilted, sheared, shifted and made noisy.

A task is one alphabet; a class is one letter and its name is the letter's Unicode name.  Every picture is a function of
a seed, a label and its number, so splits are independent drawings and any of them can be made again alone.

    x = clip(gain * crop28(affine(glyph, size 18..26)) + 0.08 h N(0,1));  rotation +-20 h deg, shear +-0.25 h, shift +-3

Source: ours; DejaVu faces as shipped inside matplotlib.  The rasteriser is Pillow's, so another version of FreeType may
move a grey value: tasks are the same for the same Pillow, and alike for others.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergebarrier.errors import MissingExtra
from mergebarrier.training import uniform

if TYPE_CHECKING:
    from PIL import Image

SIDE = 28
_CANVAS = 48
_SIZES = range(18, 27)
FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic",
)  # fmt: skip
#: alphabet -> its characters; every face has a glyph for each.
ALPHABETS: Mapping[str, str] = {
    "digits": "0123456789",
    "latin": "".join(map(chr, range(0x41, 0x5B))),
    "greek": "".join(chr(code) for code in range(0x3B1, 0x3CA) if code != 0x3C2),
    "cyrillic": "".join(map(chr, range(0x416, 0x430))),
    "armenian": "".join(map(chr, range(0x533, 0x54D))),
    "symbols": "§¶†‡∀∂∃∏∇∈∑√∞∩∪∫≈≠≤≥⊕⊗♠♣♥♦",
}
#: Every class name of the small bench in the order of the bank.
NAMES: tuple[str, ...] = tuple(unicodedata.name(c).lower() for letters in ALPHABETS.values() for c in letters)


def class_names(alphabet: str) -> tuple[str, ...]:
    """Return the names of an alphabet's letters."""
    return tuple(unicodedata.name(letter).lower() for letter in ALPHABETS[alphabet])


def draw(alphabet: str, n: int, *, hardness: float, seed: int, label: str, faces: Path) -> tuple[Tensor, Tensor]:
    """Draw ``n`` pictures of an alphabet, classes in turn.

    Args:
      alphabet: a key of ``ALPHABETS``.
      n:        pictures.
      hardness: h of the formula.
      seed:     of the drawing.
      label:    which drawing; another label is another one.
      faces:    folder of the font files.
    Returns: (UInt8[Tensor, "n 1 28 28"], Int64[Tensor, "n"] indices into the alphabet).
    Raises:  MissingExtra without Pillow.
    """
    letters = ALPHABETS[alphabet]
    labels = torch.arange(n) % len(letters)
    numbers = uniform(seed, f"glyphs|{alphabet}|{label}", n, 7)
    # ndtri of a number inside (0, 1): the draw is a multiple of 2^-53 from 0 on.
    noise = torch.special.ndtri(uniform(seed, f"glyphs|{alphabet}|{label}|noise", n, SIDE * SIDE) + 2.0**-54)
    rows = [_glyph(letters[int(c)], row, hardness, str(faces)) for c, row in zip(labels, numbers.tolist(), strict=True)]
    clean = torch.from_numpy(np.stack(rows)).double().view(n, -1) / 255
    pictures = ((0.6 + 0.4 * numbers[:, 6:]) * clean + 0.08 * hardness * noise).clamp(0, 1)
    return (pictures * 255).round().to(torch.uint8).view(n, 1, SIDE, SIDE), labels


def _glyph(letter: str, numbers: Sequence[float], hardness: float, faces: str) -> NDArray[np.uint8]:
    image = _pillow()
    face, size = FACES[int(numbers[0] * len(FACES))], _SIZES[int(numbers[1] * len(_SIZES))]
    picture = _upright(letter, face, size, faces)
    angle = math.radians((2 * numbers[2] - 1) * 20 * hardness)
    shear = (2 * numbers[3] - 1) * 0.25 * hardness
    right, down = (2 * numbers[4] - 1) * 3, (2 * numbers[5] - 1) * 3
    cos, sin, centre = math.cos(angle), math.sin(angle), _CANVAS / 2
    # Pillow wants where each output pixel comes from: x_in = a x + b y + c, y_in = d x + e y + f.
    a, b, d, e = cos, sin + shear * cos, -sin, cos - shear * sin
    x, y = centre + right, centre + down
    numbers_in = (a, b, centre - a * x - b * y, d, e, centre - d * x - e * y)
    moved = picture.transform(picture.size, image.Transform.AFFINE, numbers_in, image.Resampling.BILINEAR)
    edge = (_CANVAS - SIDE) // 2
    return np.asarray(moved.crop((edge, edge, edge + SIDE, edge + SIDE)), dtype=np.uint8)


@lru_cache(maxsize=2**14)
def _upright(letter: str, face: str, size: int, faces: str) -> "Image.Image":
    from PIL import ImageDraw, ImageFont

    font = ImageFont.truetype(str(Path(faces) / f"{face}.ttf"), size, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = font.getbbox(letter)
    picture = _pillow().new("L", (_CANVAS, _CANVAS))
    place = ((_CANVAS - left - right) / 2, (_CANVAS - top - bottom) / 2)
    ImageDraw.Draw(picture).text(place, letter, fill=255, font=font)
    return picture


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra(
            "drawing letters needs the extra 'zoo'", where="pillow", remedy="pip install 'mergebarrier[zoo]'"
        ) from error
    library: ModuleType = Image
    return library
