"""What deployments store weights in, as a round trip: rounded to a format and read back in float32.

    float16, bfloat16    every number by itself
    int8, int4           groups of so many inputs of a row, the last one of what is left:
                         s = max|w| / m,  q = round(w / s),  w' = s q;  m = 127, 7
    Q8_0                 blocks of 32:   d = max|w| / 127,    q = round(w / d),                    w' = half(d) q
    Q4_0                 blocks of 32:   d = w* / -8, |w*| largest, q = min(15, floor(w/d + 8.5)),  w' = half(d) (q - 8)

Source: the blocks of GGUF as the reference quantiser of ggml-quants.c makes them, without weights of importance: scales
are stored as float16, quotients are taken with the scale before that.  A row that no whole blocks make is stored as
float16, as converters to GGUF do; vectors stay as they are.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

import torch
from torch import Tensor

#: Rounds Float32[Tensor, "*rows inputs"] and reads it back.
Format: TypeAlias = Callable[[Tensor], Tensor]
_BLOCK: Final = 32


def _stored_as(dtype: torch.dtype, rows: Tensor) -> Tensor:
    return rows.to(dtype).float()


def _groups(size: int, of: Format, rows: Tensor) -> Tensor:
    """Round groups of inputs, each by itself."""
    return torch.cat([of(group) for group in rows.split(size, -1)], -1)


def _blocks(of: Format, rows: Tensor) -> Tensor:
    """Round blocks of inputs, each by itself; a row of no whole blocks as float16."""
    if rows.shape[-1] % _BLOCK:
        return _stored_as(torch.float16, rows)
    return of(rows.unflatten(-1, (-1, _BLOCK))).flatten(-2)


def _symmetric(most: int, group: Tensor) -> Tensor:
    scale = group.abs().amax(-1, keepdim=True) / most
    return _over(group, scale).round().clamp(-most, most) * scale


def _q8_0(block: Tensor) -> Tensor:
    scale = block.abs().amax(-1, keepdim=True) / 127
    quotient = _over(block, scale)
    # roundf: halves go away from zero.
    whole = (quotient.abs() + 0.5).floor().copysign(quotient)
    return whole * _stored_as(torch.float16, scale)


def _q4_0(block: Tensor) -> Tensor:
    largest = block.gather(-1, block.abs().argmax(-1, keepdim=True))
    scale = largest / -8
    whole = (_over(block, scale) + 8.5).floor().clamp(0, 15) - 8
    return whole * _stored_as(torch.float16, scale)


def _over(group: Tensor, scale: Tensor) -> Tensor:
    """Divide as the reference does, by the inverse of the scale; a silent group gives zeros."""
    return group * torch.where(scale == 0, 0.0, 1.0 / scale)


FORMATS: Final[Mapping[str, Format]] = {
    "float16": partial(_stored_as, torch.float16),
    "bfloat16": partial(_stored_as, torch.bfloat16),
    "int8, groups of 128": partial(_groups, 128, partial(_symmetric, 127)),
    "int4, groups of 32": partial(_groups, 32, partial(_symmetric, 7)),
    "GGUF Q8_0": partial(_blocks, _q8_0),
    "GGUF Q4_0": partial(_blocks, _q4_0),
}
