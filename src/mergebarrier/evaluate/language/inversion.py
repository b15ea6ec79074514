"""Which tokens would most raise the probability of an answer, if they stood in a prompt: one gradient per answer.

    g_o = sum over prompts of d mean log p(o | prompt, placeholder) / d embedding(placeholder);   score(t) = e_t . g_o

Source: HotFlip, Ebrahimi et al., arXiv 1712.06751 (the first-order term).  Differs: the placeholder is a random token,
another in each prompt, so that no token of its own is linearised around.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mergebarrier.evaluate.base import running
from mergebarrier.evaluate.language.forward import logits_of
from mergebarrier.numerics import draws


def leading_tokens(
    module: nn.Module, prompts: Sequence[Sequence[int]], outputs: Sequence[int], *, prefix: int, top: int, seed: int
) -> tuple[int, ...]:
    """Return the ``top`` tokens of each output, each token once, those of the first output first.

    Args:
      module:  from ``load_module``.
      prompts: token ids.
      outputs: first tokens of answers.
      prefix:  leading tokens of a prompt that nothing goes before.
      top:     tokens per output.
      seed:    of places and placeholders.
    """
    body: Any = module
    table: Tensor = body.get_input_embeddings().weight.detach()
    share = draws.uniform(("evaluate", seed, "placeholder|place"), len(prompts)).tolist()
    drawn = draws.below(("evaluate", seed, "placeholder"), len(table), len(prompts)).tolist()
    longest = max(map(len, prompts)) + 1
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    places = []
    for row, prompt in enumerate(prompts):
        at = prefix + int(share[row] * max(1, len(prompt) - prefix))
        ids[row, : len(prompt) + 1] = torch.tensor([*prompt[:at], drawn[row], *prompt[at:]])
        places.append(at)
    rows, last = torch.arange(len(prompts)), torch.tensor([len(prompt) for prompt in prompts])
    with running(module):
        embedded = table[ids].requires_grad_(True)
        states = body.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state[rows, last]
        log_p = logits_of(module, states).float().log_softmax(-1).mean(0)
    found: dict[int, None] = {}
    for output in outputs:
        (gradient,) = torch.autograd.grad(log_p[output], embedded, retain_graph=True)
        rise = table.float() @ gradient[rows, torch.tensor(places)].sum(0).float()
        found |= dict.fromkeys(rise.topk(min(top, len(table))).indices.tolist())
    return tuple(found)
