"""Write a PNG file: one compressed block, the same bytes for the same pixels.

    signature | IHDR(width, height, 8 bits, grey or RGB) | IDAT(zlib(rows, each after filter byte 0)) | IEND

Source: ISO/IEC 15948 (PNG).  Differs: no filter is tried; the pictures are a few hundred pixels.
"""

import base64
import struct
import zlib

from torch import Tensor

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR = {1: 0, 3: 2}


def png(pixels: Tensor) -> bytes:
    """Return the file of one picture.

    Args:
      pixels: Float[Tensor, "channels height width"], 1 or 3 channels; clamped to [0, 1] and rounded to bytes.
    Raises: ValueError for another number of channels.
    """
    channels, height, width = pixels.shape
    if channels not in _COLOUR:
        raise ValueError(f"{channels} channels are not a picture")
    data = (pixels.detach().clamp(0.0, 1.0) * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes()
    stride = width * channels
    rows = b"".join(b"\0" + data[start : start + stride] for start in range(0, len(data), stride))
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR[channels], 0, 0, 0)
    return (
        _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 9, zlib.MAX_WBITS)) + _chunk(b"IEND")
    )


def inlined(pixels: Tensor) -> str:
    """Return the file in base64, as a report holds it."""
    return base64.b64encode(png(pixels)).decode()


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
