"""MISLEADER: teach a copy of the model to answer well, and to answer an intruder in a way that its copy cannot follow.

    intruder, 5 steps a batch   L_A = KL(D(x') || A(x'))                                  x' an augmented batch
    defender, 1 step            L_D = a T^2 KL(softmax(t(x)/T) || softmax(D(x)/T)) + (1 - a) CE(D(x), y)
                                      - lambda KL(D(x') || A(x'))
    served                      mean over members of softmax D_m(x)

A KL divergence has no upper bound, so probabilities are clamped at 1e-7.  With lambda 0 what is left is an ensemble
that was distilled: always look at that row too.

Source: MISLEADER (arXiv 2506.02362).  Its released code accumulates five gradients of one batch where it says five
steps, and chooses its models on test pictures; here five steps are five steps, and nothing is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mergebarrier.errors import UsageError
from mergebarrier.lazy import torch
from mergebarrier.parameters import check_values, number, whole

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST: Final = 1e-7


@dataclass(frozen=True, kw_only=True)
class Misleader:
    """Hyper-parameters of one member."""

    repulsion: float = number(0.5, help="Weight of what the intruder must not follow.", low=0, high=1000)
    temperature: float = number(4.0, help="Of the distillation.", low=0, above=True, high=1000)
    distilled: float = number(0.3, help="Share of the loss that follows the teacher, not the labels.", low=0, high=1)
    intruder_steps: int = whole(5, help="Steps of the intruder for one of the defender.", low=1, high=100)

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)


def intruder_loss(defender: Tensor, intruder: Tensor) -> Tensor:
    """Return KL(D || A) in nats of logits on the same batch; the defender is taken as given."""
    return _divergence(defender.detach(), intruder)


def defender_loss(
    logits: Tensor, teacher: Tensor, labels: Tensor, *, outside: tuple[Tensor, Tensor], options: Misleader
) -> Tensor:
    """Return the defender's loss.

    Args:
      logits:  of the defender on a batch of its own data.
      teacher: the teacher's logits there.
      labels:  Int64[Tensor, "n"].
      outside: logits of defender and intruder on an augmented batch; the intruder is taken as given.
      options: weights and temperature.
    Raises: UsageError where teacher and defender know different classes.
    """
    if logits.shape != teacher.shape:
        what = f"teacher and member answer {teacher.shape[1]} and {logits.shape[1]} classes"
        raise UsageError(what, where="defend", remedy="give models of one task")
    warm = options.temperature
    target = (teacher.detach() / warm).softmax(1)
    follow = torch.nn.functional.kl_div((logits / warm).log_softmax(1), target, reduction="batchmean")
    loss = options.distilled * warm**2 * follow + (1 - options.distilled) * torch.nn.functional.cross_entropy(
        logits, labels
    )
    if options.repulsion:
        loss = loss - options.repulsion * _divergence(outside[0], outside[1].detach())
    return loss


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    p, q = (logits.softmax(1).clamp_min(_SMALLEST) for logits in (first, second))
    return (p * (p.log() - q.log())).sum(1).mean()
