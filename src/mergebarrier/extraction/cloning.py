"""How a clone learns from answers: four losses of its logits z and the victim's probabilities p.

    soft            KL(p || softmax z)
    hard            cross-entropy with argmax p; all that a victim gives who answers labels
    logits          | centred z - centred_log(p) |_1, the honest attack of a victim that answers one softmax
    double_softmax  | centred z - centred log_softmax(p) |_1, as the released attack on MISLEADER runs it

Sources: knowledge distillation; Knockoff Nets (arXiv 1812.02766) for the first two; DFME (arXiv 2011.14779) for the L1.
The last is a labelled row of comparisons and no attack that anybody should use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from mergebarrier.extraction.answers import centred_log
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def soft(logits: Tensor, p: Tensor) -> Tensor:
    """Return the mean KL divergence, in nats."""
    return torch.nn.functional.kl_div(logits.log_softmax(1), p, reduction="batchmean")


def hard(logits: Tensor, p: Tensor) -> Tensor:
    """Return the mean cross-entropy with the victim's label, in nats."""
    return torch.nn.functional.cross_entropy(logits, p.argmax(1))


def disagreement(logits: Tensor, p: Tensor) -> Tensor:
    """Return the mean absolute difference of centred logits, Float[Tensor, "n"]."""
    return (_centred(logits) - centred_log(p)).abs().mean(1)


def of_logits(logits: Tensor, p: Tensor) -> Tensor:
    """Return the mean of ``disagreement``."""
    return disagreement(logits, p).mean()


def double_softmax(logits: Tensor, p: Tensor) -> Tensor:
    """Return the mean absolute difference from the probabilities taken for logits."""
    return (_centred(logits) - _centred(p.log_softmax(1))).abs().mean()


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)


LOSSES: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "soft": soft,
    "hard": hard,
    "logits": of_logits,
    "double_softmax": double_softmax,
}
