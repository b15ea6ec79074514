"""Do two models compute the same function?  Their logits, their distributions and their first choices, token by token.

    rel error = max |a-b| / max |a|,  KL = mean_i sum_v p_a(v) [log p_a(v) - log p_b(v)],  top-1 = mean_i [equal argmax]

Models that do not continue a text are compared by whatever they answer, see ``evaluate.base.answers``.

Source: specs of every exact transformation; judged in float32 compute, because bfloat16 adds its own noise.
Differs: the head runs on 128 positions at a time, so a vocabulary of any size fits.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mergebarrier.errors import BadText, ShapeMismatch
from mergebarrier.evaluate.base import answers
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
    return Equality(_ratio(gap, scale), max(0.0, kl / n_tokens), n_same / n_tokens, n_tokens)


@dataclass(frozen=True, kw_only=True)
class SameAnswers:
    """How far two models differ in what they answer.

    Attributes:
      outputs:             names of what was compared.
      max_rel_error:       the greatest, over the outputs, of a difference over the output's greatest value.
      kl_nats:             mean KL divergence of the distributions among them; None where there is none.
      top1_agreement:      share of those with the same first choice.
      tokens:              read by each; 0 where no text is read.
    """

    outputs: tuple[str, ...]
    max_rel_error: float
    kl_nats: float | None
    top1_agreement: float | None
    tokens: int


@torch.no_grad()
def compare_answers(module_a: nn.Module, module_b: nn.Module, token_ids: Tensor | None) -> SameAnswers:
    """Compare what two models of one class answer.

    Args:
      module_a:  the reference.
      module_b:  the other.
      token_ids: Int64[Tensor, "n"], read in windows of at most 256; None where no text is read.
    Returns: SameAnswers; the error and the KL are infinite where an output is not a number.
    Raises:  BadText for an id outside the vocabulary; UnsupportedFeature for a class that reads something unknown.
    Numerics: as ``compare``.
    """
    rows = [torch.zeros(1, 0, dtype=torch.long)]
    if token_ids is not None:
        check_vocabulary(module_a, token_ids, BadText)
        # Half of the positions: some classes begin to count them behind the padding, and pictures take some.
        length = min(WINDOW_TOKENS, max_positions(module_a) // 2, max_positions(module_b) // 2)
        rows = [row[None] for batch in windows(token_ids, length) for row in batch]
    error = kl = 0.0
    n_same = n_choices = 0
    names: dict[str, None] = {}
    for row in rows:
        ours, theirs = answers(module_a, row), answers(module_b, row)
        names |= dict.fromkeys(ours)
        for name, value in ours.items():
            a, b = (side.double().flatten(0, -2) for side in (value, theirs[name]))
            error = max(error, _ratio(_number(a.sub(b).abs().max()), _number(a.abs().max())))
            if "logits" in name and a.shape[-1] > 1:
                log_a, log_b = a.log_softmax(-1), b.log_softmax(-1)
                kl += _number((log_a.exp() * (log_a - log_b)).sum())
                n_same += int((a.argmax(-1) == b.argmax(-1)).sum())
                n_choices += len(a)
    return SameAnswers(
        outputs=tuple(names),
        max_rel_error=error,
        kl_nats=max(0.0, kl / n_choices) if n_choices else None,
        top1_agreement=n_same / n_choices if n_choices else None,
        tokens=sum(row.numel() for row in rows),
    )


def _ratio(gap: float, scale: float) -> float:
    return gap / scale if 0 < scale < float("inf") else (0.0 if gap == 0 else float("inf"))


def _number(value: Tensor) -> float:
    """Return a float; infinity for what is not a number."""
    number = float(value)
    return float("inf") if number != number else number
