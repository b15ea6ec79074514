"""What a service can do to its answers alone: give labels, round, or bend probabilities where they say much.

    top1             1 for the largest class, 0 for others
    round            to d decimals, then summed to 1 again
    reverse_sigmoid  p - beta (sigmoid(gamma logit(p)) - 1/2), clamped, then summed to 1 again

None changes which class is largest but ``round`` by a tie; each costs its users what it takes from the clone.

Sources: Tramer et al. (USENIX Security 2016) for the first two; Lee et al. (arXiv 1806.00054) for the third.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_DECIMALS: Final = 1
_BETA, _GAMMA = 0.7, 0.2
_SMALLEST: Final = 1e-7


def none(p: Tensor) -> Tensor:
    """Return the probabilities as they are."""
    return p


def top1(p: Tensor) -> Tensor:
    """Return the label as a probability."""
    return torch.nn.functional.one_hot(p.argmax(1), p.shape[1]).to(p.dtype)


def rounded(p: Tensor) -> Tensor:
    """Return probabilities of one decimal; a row that rounds to nothing becomes its label."""
    cut = p.round(decimals=_DECIMALS)
    empty = cut.sum(1, keepdim=True) == 0
    return _summed(torch.where(empty, top1(p), cut))


def reverse_sigmoid(p: Tensor) -> Tensor:
    """Return probabilities bent towards each other where they are far apart."""
    inside = p.clamp(_SMALLEST, 1 - _SMALLEST)
    bent = inside - _BETA * ((_GAMMA * (inside / (1 - inside)).log()).sigmoid() - 0.5)
    return _summed(bent.clamp_min(_SMALLEST))


def _summed(p: Tensor) -> Tensor:
    return p / p.sum(1, keepdim=True)


DEFENCES: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "none": none,
    "top1": top1,
    "round": rounded,
    "reverse_sigmoid": reverse_sigmoid,
}
