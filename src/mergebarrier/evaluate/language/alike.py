"""What a model says to many prompts that begin alike: the shared beginning runs once.

    cost of a pass = 30 + tokens,      tokens = beginning + sum of what follows it in each prompt

A search puts hundreds of strings at one place of one prompt.  What stands before that place is the same each time, and
under a causal mask nothing behind it changes what the model makes of it: keys and values are kept and repeated.
Sorted prompts join the pass before them while the beginning that they would still share makes that cheaper than a pass
of their own.

Source: prefix caching, as in vLLM (arXiv 2309.06180) and SGLang (arXiv 2312.07104).  Differs: for one call, nothing is
kept.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from mergebarrier.evaluate.base import running, stock_library
from mergebarrier.evaluate.language.forward import logits_of, next_logits

#: What a pass costs beside its tokens, in tokens; prompts of one pass.
_PASS: Final = 30
_ROWS: Final = 256


@torch.no_grad()
def alike_logits(module: nn.Module, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return what ``next_logits`` returns, to rounding, and sooner where prompts begin alike.

    A module that keeps more of a text than keys and values of every token is asked as ``next_logits`` asks.

    Args:
      module:  from ``load_module``.
      prompts: token ids, at least one each.
    """
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    said: list[Tensor] = []
    lonely: list[int] = []
    done: list[int] = []
    keeps = True
    for some, shared in _passes([prompts[i] for i in order]):
        which = order[some]
        kept = _kept(module, prompts[which[0]][:shared]) if keeps and shared > 0 and len(which) > 1 else None
        if kept is None:
            lonely += which
            keeps = keeps and not (shared > 0 and len(which) > 1)
        else:
            said.append(_behind(module, kept, [prompts[i][shared:] for i in which]))
            done += which
    if lonely:
        said.append(next_logits(module, [prompts[i] for i in lonely]))
    place = torch.empty(len(order), dtype=torch.long)
    place[torch.tensor([*done, *lonely])] = torch.arange(len(order))
    return torch.cat(said)[place]


def _passes(prompts: Sequence[Sequence[int]]) -> list[tuple[slice, int]]:
    """Cut sorted prompts into passes: each with how many leading tokens its prompts share, short of a last token."""
    found: list[tuple[slice, int]] = []
    start, shared = 0, len(prompts[0]) - 1
    for i in range(1, len(prompts)):
        less = min(shared, _alike(prompts[i - 1], prompts[i]))
        if i - start < _ROWS and (i - start - 1) * (shared - less) <= _PASS + less:
            shared = less
        else:
            found.append((slice(start, i), shared))
            start, shared = i, len(prompts[i]) - 1
    return [*found, (slice(start, len(prompts)), shared)]


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many leading tokens two prompts share, short of the last token of either."""
    most = min(len(one), len(other)) - 1
    return next((i for i in range(most) if one[i] != other[i]), most)


def _kept(module: nn.Module, beginning: Sequence[int]) -> Any:
    """Return keys and values of a beginning, None where a module keeps something else."""
    body: Any = module
    ids = torch.tensor([beginning], device=next(module.parameters()).device)
    with running(module):
        kept = getattr(body.base_model(input_ids=ids, use_cache=True), "past_key_values", None)
    of_tokens = stock_library().cache_utils.DynamicLayer
    # Layers of other kinds (a window, a state, an index) are subclasses, and not all can be repeated.
    return kept if kept is not None and {type(one) for one in getattr(kept, "layers", ())} == {of_tokens} else None


def _behind(module: nn.Module, kept: Any, rests: Sequence[Sequence[int]]) -> Tensor:
    """Return what a module says behind the rests of prompts whose beginning it has run."""
    body: Any = module
    device = next(module.parameters()).device
    ids = torch.zeros(len(rests), max(map(len, rests)), dtype=torch.long)
    for row, rest in enumerate(rests):
        ids[row, : len(rest)] = torch.tensor(rest)
    last = torch.tensor([len(rest) - 1 for rest in rests])
    with running(module):
        kept.batch_repeat_interleave(len(rests))
        states = body.base_model(input_ids=ids.to(device), past_key_values=kept, use_cache=True).last_hidden_state
    return logits_of(module, states[torch.arange(len(rests)), last]).float().cpu()
