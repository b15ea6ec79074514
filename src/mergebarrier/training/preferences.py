"""Direct preference optimisation: a model learns which of two answers is wanted, and how far to move from what it was.

    loss = -mean log sigmoid( beta [ log p(chosen) - log p_0(chosen) - log p(rejected) + log p_0(rejected) ] )

p_0 is the model before; at the start the loss is log 2.

Source: arXiv 2305.18290.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.training.answers import answer_log_p
from mergebarrier.training.lora import Example


@dataclass(frozen=True)
class Preference:
    """A question with the answer that is wanted and one that is not, as token ids."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


@torch.no_grad()
def preferred(module: nn.Module, pairs: Sequence[Preference], rows: int = 64) -> Tensor:
    """Return how much more likely the chosen answer is than the rejected one: Float[Tensor, "n"] in nats."""
    return torch.cat([_margin(module, pairs[start : start + rows]) for start in range(0, len(pairs), rows)])


def preference_loss(module: nn.Module, pairs: Sequence[Preference], before: Tensor, *, beta: float = 0.1) -> Tensor:
    """Return the loss of a batch, Float[Tensor, ""], with its graph.

    Args:
      module: a causal language model of transformers.
      pairs:  at least one.
      before: Float[Tensor, "n"], ``preferred`` of these pairs by the model before training.
      beta:   how dear it is to move away from that.
    """
    return -F.logsigmoid(beta * (_margin(module, pairs) - before)).mean()


def _margin(module: nn.Module, pairs: Sequence[Preference]) -> Tensor:
    chosen = [Example(one.prompt, one.chosen) for one in pairs]
    rejected = [Example(one.prompt, one.rejected) for one in pairs]
    log_p = answer_log_p(module, [*chosen, *rejected])
    return log_p[: len(pairs)] - log_p[len(pairs) :]
