"""Do two models compute the same function?  Their logits, their distributions and their first choices, token by token.

    rel error = max |a-b| / max |a|,  KL = mean_i sum_v p_a(v) [log p_a(v) - log p_b(v)],  top-1 = mean_i [equal argmax]

Source: specs of every exact transformation; judged in float32 compute, because bfloat16 adds its own noise.
Differs: the head runs on 128 positions at a time, so a vocabulary of any size fits.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mergebarrier.errors import BadText, ShapeMismatch
from mergebarrier.evaluate.language.forward import check_vocabulary, hidden_states, logit_blocks, max_positions, windows

WINDOW_TOKENS = 256


@dataclass(frozen=True)
class Equality:
    """How far two models differ on the same tokens.

    Attributes:
      max_rel_logit_error: greatest absolute difference of any logit over the greatest absolute logit of the first.
      kl_nats:             mean KL divergence from the first model to the second, nats per token, at least 0.
      top1_agreement:      share of positions with the same most likely token.
      tokens:              positions compared.
    """

    max_rel_logit_error: float
    kl_nats: float
    top1_agreement: float
    tokens: int


@torch.no_grad()
def compare(module_a: nn.Module, module_b: nn.Module, token_ids: Tensor) -> Equality:
    """Compare two models on the same tokens.

    Args:
      module_a:  the reference.
      module_b:  the other; same vocabulary, any dtype.
      token_ids: Int64[Tensor, "n"], read in windows of 256.
    Returns: Equality; the error and the KL are infinite where a logit is not a number.
    Raises:  ShapeMismatch when the vocabularies differ; BadText for an id outside them.
    Numerics: logits as each module computes them, differences and KL in float64.
    """
    heads: list[Any] = [module_a, module_b]
    sizes = [int(module.get_output_embeddings().weight.shape[0]) for module in heads]
    if sizes[0] != sizes[1]:
        raise ShapeMismatch(f"vocabularies of {sizes[0]} and {sizes[1]}", remedy="compare models of one family")
    check_vocabulary(module_a, token_ids, BadText)
    window = min(WINDOW_TOKENS, max_positions(module_a), max_positions(module_b))
    gap = scale = kl = 0.0
    n_same = n_tokens = 0
    for batch in windows(token_ids, window):
        states = [hidden_states(module, batch).flatten(0, 1) for module in (module_a, module_b)]
        blocks = zip(logit_blocks(module_a, states[0]), logit_blocks(module_b, states[1]), strict=True)
        for (_, raw_a), (_, raw_b) in blocks:
            a, b = raw_a.double(), raw_b.double()
            gap = max(gap, _number(a.sub(b).abs_().max()))
            scale = max(scale, _number(a.abs().max()))
            n_same += int((a.argmax(-1) == b.argmax(-1)).sum())
            log_a, log_b = a.log_softmax(-1), b.log_softmax(-1)
            kl += _number((log_a.exp() * log_a.sub_(log_b)).sum())
            n_tokens += len(a)
    error = gap / scale if 0 < scale < float("inf") else (0.0 if gap == 0 else float("inf"))
    return Equality(error, max(0.0, kl / n_tokens), n_same / n_tokens, n_tokens)


def _number(value: Tensor) -> float:
    """Return a float; infinity for what is not a number."""
    number = float(value)
    return float("inf") if number != number else number
