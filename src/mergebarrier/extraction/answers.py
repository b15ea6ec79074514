"""What a victim gives: class probabilities, and nothing else; who wants logits takes them from there.

    centred_log(p) = log max(p, 1e-12) - mean over classes            the centred logits of a softmax, exactly

No gradient, logit or member of an ensemble crosses this line, and victims with and without a defence go through the
same attack.  The released attack on MISLEADER (arXiv 2506.02362) treats the probabilities of the defended victim as
logits, but feeds real logits of the undefended one; then ``log_softmax(p) - mean = p - 1/C``, and the clone regresses
next to nothing.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from mergebarrier.errors import BadAttack
from mergebarrier.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

#: Pictures [n c h w] in [0, 1] -> probabilities, Float32[Tensor, "n classes"].
Answers: TypeAlias = "Callable[[Tensor], Tensor]"
_SMALLEST: Final = 1e-12
_SUM_ERROR: Final = 1e-4


def checked(answers: Answers) -> Answers:
    """Hold every answer of a victim to what it must be.

    Raises: BadAttack, when asked, for rows that are not probabilities, such as logits.
    """

    def ask(inputs: Tensor) -> Tensor:
        p = answers(inputs)
        if p.dim() != 2 or len(p) != len(inputs):
            raise _wrong(f"{tuple(p.shape)} for {len(inputs)} pictures")
        if not bool(torch.isfinite(p).all()) or float(p.min()) < 0:
            raise _wrong("a value that is negative or not finite")
        error = float((p.sum(1) - 1).abs().max())
        if error > _SUM_ERROR:
            raise _wrong(f"a row that sums to 1 within {error:.3g} only")
        return p

    return ask


def ensemble(members: Sequence[Answers]) -> Answers:
    """Return the mean of what several victims answer: one service."""
    return lambda inputs: torch.stack([member(inputs) for member in members]).mean(0)


def centred_log(p: Tensor) -> Tensor:
    """Return the centred logits behind probabilities, Float[Tensor, "n classes"]."""
    logs = p.clamp_min(_SMALLEST).log()
    return logs - logs.mean(1, keepdim=True)


def _wrong(what: str) -> BadAttack:
    return BadAttack(f"the victim answers {what}", where="victim", remedy="give one that answers class probabilities")
