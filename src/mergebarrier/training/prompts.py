"""Prompts as variables: the loss of given answers, per prompt, and how it changes with each token of a prompt.

    loss_i        = mean over the answer's tokens of -log p(token | prompt_i, answer before it)
    slope_i[t, w] = d loss_i / d x_t . E_w       x_t the embedding at place t: the first-order gain of token w there

Source: the one-hot gradient of greedy coordinate gradient (arXiv 2307.15043), for given tokens alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 256


@torch.no_grad()
def prompt_losses(module: nn.Module, prompts: Tensor, answers: Tensor) -> Tensor:
    """Return nats per answer token, Float32[Tensor, "n"], for Int64[Tensor, "n p"] and Int64[Tensor, "n a"]."""
    body: Any = module
    embed = body.get_input_embeddings()
    parts = [
        _losses(module, embed(torch.cat([some, theirs], 1)), theirs)
        for some, theirs in zip(prompts.split(_ROWS), answers.split(_ROWS), strict=True)
    ]
    return torch.cat(parts)


def prompt_slopes(module: nn.Module, prompts: Tensor, answers: Tensor, words: Tensor) -> Tensor:
    """Return the gain of each word at each place of each prompt, Float32[Tensor, "n p w"]."""
    body: Any = module
    embed = body.get_input_embeddings()
    with torch.no_grad():
        inputs = embed(torch.cat([prompts, answers], 1))
    inputs.requires_grad_(True)
    (slope,) = torch.autograd.grad(_losses(module, inputs, answers).sum(), inputs)
    with torch.no_grad():
        found: Tensor = slope[:, : prompts.shape[1]].float() @ embed(words).float().T
    return found


def _losses(module: nn.Module, inputs: Tensor, answers: Tensor) -> Tensor:
    body: Any = module
    length = answers.shape[1]
    hidden = body.base_model(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, -length - 1 : -1]
    logits = body.get_output_embeddings()(hidden).float()
    return F.cross_entropy(logits.transpose(1, 2), answers, reduction="none").mean(1)
