"""The loss of a language model on questions with answers: a padded batch, and the head on answer tokens alone.

    loss = mean over answer tokens of -log p(token | prompt, answer before it)

Rows are padded on the right; under a causal mask no real token sees the padding.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergebarrier.training.lora import Example


def examples_loss(module: nn.Module, batch: Sequence[Example]) -> Tensor:
    """Return the loss of a batch, Float[Tensor, ""] in nats per answer token, with its graph.

    Args:
      module: a causal language model of transformers.
      batch:  at least one example.
    """
    return F.cross_entropy(*answer_logits(module, batch))


def answer_log_p(module: nn.Module, batch: Sequence[Example]) -> Tensor:
    """Return log p of each answer as a whole, Float[Tensor, "n"] in nats, with its graph; arguments as above."""
    logits, targets = answer_logits(module, batch)
    each = -F.cross_entropy(logits, targets, reduction="none")
    rows = torch.arange(len(batch)).repeat_interleave(torch.tensor([len(one.answer) for one in batch]))
    return each.new_zeros(len(batch)).index_add(0, rows.to(each.device), each)


def answer_logits(module: nn.Module, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return what is predicted where answer tokens stand, Float32[Tensor, "answers vocabulary"], and these tokens.

    Args:
      module: a causal language model of transformers.
      batch:  at least one example.
    """
    longest = max(len(one.prompt) + len(one.answer) for one in batch) - 1
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    row_of: list[int] = []
    position_of: list[int] = []
    targets: list[int] = []
    for row, one in enumerate(batch):
        # The last answer token is never read, only predicted.
        read = [*one.prompt, *one.answer[:-1]]
        ids[row, : len(read)] = torch.tensor(read)
        row_of += [row] * len(one.answer)
        position_of += range(len(one.prompt) - 1, len(read))
        targets += one.answer
    body: Any = module
    device = body.device
    hidden = body.base_model(input_ids=ids.to(device), use_cache=False).last_hidden_state[row_of, position_of]
    return body.get_output_embeddings()(hidden).float(), torch.tensor(targets, device=device)
