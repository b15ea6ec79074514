"""Thinning of one tensor, by our own sparsifiers."""

from enum import Enum, StrEnum
from typing import Any

import torch
from torch import Tensor

from mergebarrier.merge import make
from mergebarrier.merge.arithmetic import sparsify as _sparsify
from mergebarrier.merge.arithmetic.operands import Operands
from mergekit import internals
from mergekit.faults import theirs


class SparsificationMethod(StrEnum):
    """How entries are chosen."""

    magnitude = "magnitude"
    random = "random"
    magnitude_outliers = "magnitude_outliers"
    della_magprune = "della_magprune"


_drawn = 0


def sparsify(
    tensor: Tensor,
    density: float,
    method: SparsificationMethod,
    gamma: float = 0.0,
    rescale_norm: Any = None,
    epsilon: float = 0.15,
) -> Tensor:
    """Thin a tensor; every call draws anew."""
    global _drawn
    _drawn += 1
    wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    flat = tensor.detach().reshape(-1)
    operands = Operands(None, (flat,), "tensor", wide, tuple(tensor.shape))
    with theirs():
        if method is SparsificationMethod.magnitude:
            (chosen,) = _sparsify.by_magnitude(operands, [density])
        elif method is SparsificationMethod.magnitude_outliers:
            (chosen,) = _sparsify.between(operands, [density], [gamma])
        elif method is SparsificationMethod.random:
            (chosen,) = _sparsify.at_random(operands, [density], seed=_drawn, method="dare")
        else:
            della: Any = make("della", density=density, epsilon=epsilon, seed=_drawn)
            (chosen,) = della.sparsifiers(operands, [density])
    norm = rescale_norm.value if isinstance(rescale_norm, Enum) else rescale_norm or "none"
    if norm not in _sparsify.RESCALES:
        raise ValueError(norm)
    (factor,) = _sparsify.factors(operands, [chosen], norm)
    out = flat.to(wide, copy=True)
    for start, stop in operands.spans():
        out[start:stop] = chosen.thin(out[start:stop], start, torch.empty(stop - start, dtype=wide))
    return out.mul_(factor).to(tensor.dtype).view(tensor.shape)


__getattr__ = internals.attribute_of("mergekit.sparsify")
