"""Slopes of thin factors without that of the matrix which they make: linear maps say them while the module is run.

    y = x W^T,  W = W0 + a B A:    dB = a g^T (x A^T),   dA = a (g B)^T x,   da = <g, x A^T B^T>       g = d/dy

The slope of W is as large as W, costs as much as a pass forward, and is asked for these products alone.  So W is read
without one, and a second, thin way from x to y has the graph; its value is not used.  What reads W otherwise, such as
an embedding or a map that is stored turned, still says the slope of W.  Source: the backward pass of LoRA, arXiv
2106.09685, where W0 is frozen.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class ThinPart:
    """What is learned of a weight [rows columns]: scale B A, with B [rows r] and A [r columns]."""

    scale: float | Tensor
    b: Tensor
    a: Tensor


@contextmanager
def thin_slopes(module: nn.Module, parts: Mapping[Tensor, ThinPart]) -> Iterator[None]:
    """Let linear maps with these weights give slopes to thin parts and none to W, in passes and in passes back."""
    maps = [one for one in module.modules() if type(one) is nn.Linear and one.weight in parts] if parts else []
    for one in maps:
        # Of the object alone, so that passes that are computed twice meet the same way.
        vars(one)["forward"] = partial(_forward, one, parts[one.weight])
    try:
        yield
    finally:
        for one in maps:
            del vars(one)["forward"]


def _forward(linear: nn.Linear, part: ThinPart, x: Tensor) -> Tensor:
    thin = part.scale * F.linear(F.linear(x.detach(), part.a.to(x.dtype)), part.b.to(x.dtype))
    join: Any = _Joined.apply  # untyped in torch
    joined: Tensor = join(F.linear(x, linear.weight.detach(), linear.bias), thin)
    return joined


class _Joined(torch.autograd.Function):
    """The value of the first, and the slope of both."""

    @staticmethod
    def forward(ctx: object, value: Tensor, thin: Tensor) -> Tensor:
        del ctx, thin
        return value.view_as(value)

    @staticmethod
    def backward(ctx: object, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        del ctx
        return slopes[0], slopes[0]
