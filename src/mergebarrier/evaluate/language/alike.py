"""What a model says to many prompts that begin alike: the shared beginning runs once.

    cost of a pass = 30 + tokens,      tokens = beginning + prompts * (longest - beginning)

A search puts hundreds of strings at one place of one prompt.  What stands before that place is the same each time, and
under a causal mask nothing behind it changes what the model makes of it: keys and values are kept and repeated.
Sorted prompts are cut where the sum of the costs is least; passes run side by side, prompts of no shared beginning by
themselves.

Source: prefix caching, as in vLLM (arXiv 2309.06180) and SGLang (arXiv 2312.07104).  Differs: for one call, nothing is
kept.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from mergebarrier.checkpoint.bytes import one_thread_pool
from mergebarrier.evaluate.base import running, stock_library
from mergebarrier.evaluate.language.forward import logits_of, next_logits

#: What a pass costs beside its tokens, in tokens; prompts of one pass.
_PASS: Final = 30
_ROWS: Final = 256
#: (prompts by their numbers, how many leading tokens they share).
_Pass: TypeAlias = tuple[list[int], int]


@torch.no_grad()
def alike_logits(module: nn.Module, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return what ``next_logits`` returns, to rounding, and sooner where prompts begin alike.

    A module that keeps more of a text than keys and values of every token is asked as ``next_logits`` asks.

    Args:
      module:  from ``load_module``.
      prompts: token ids, at least one each.
    """
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    cut = _passes([prompts[i] for i in order])
    alike = [(order[some], shared) for some, shared in cut if shared]
    if alike and not _keeps_tokens(module, prompts[alike[0][0][0]][:1]):
        return next_logits(module, prompts)

    @torch.no_grad()
    def run(one: tuple[list[int], int]) -> Tensor:
        which, shared = one
        return _behind(module, prompts[which[0]][:shared], [prompts[i][shared:] for i in which])

    said = _side_by_side(module, run, alike)
    lonely = [i for some, shared in cut if not shared for i in order[some]]
    if lonely:
        said.append(next_logits(module, [prompts[i] for i in lonely]))
    place = torch.empty(len(order), dtype=torch.long)
    place[torch.tensor([i for which, _ in alike for i in which] + lonely)] = torch.arange(len(order))
    return torch.cat(said)[place]


def _side_by_side(module: nn.Module, run: Callable[[_Pass], Tensor], passes: Sequence[_Pass]) -> list[Tensor]:
    """Run passes, on a processor each on one thread: of so few tokens none is worth sharing."""
    threads = torch.get_num_threads()
    if threads == 1 or next(module.parameters()).device.type != "cpu":
        return [run(one) for one in passes]
    with one_thread_pool(threads) as pool:
        return list(pool.map(run, passes))


def _passes(prompts: Sequence[Sequence[int]]) -> list[tuple[slice, int]]:
    """Cut sorted prompts into the cheapest passes: each with how many leading tokens its prompts share.

    Those that pay for no pass stand alone, and share nothing.
    """
    alike = [0, *(_alike(one, other) for one, other in pairwise(prompts))]
    best, cut = [0], [(0, 0)]
    for end in range(1, len(prompts) + 1):
        longest = len(prompts[end - 1])
        least, begins = best[-1] + longest, (end - 1, 0)
        shared = longest - 1
        for start in range(end - 2, max(-1, end - 1 - _ROWS), -1):
            shared = min(shared, alike[start + 1])
            longest = max(longest, len(prompts[start]))
            if shared == 0:
                break
            cost = best[start] + _PASS + shared + (end - start) * (longest - shared)
            if cost < least:
                least, begins = cost, (start, shared)
        best.append(least)
        cut.append(begins)
    found, end = [], len(prompts)
    while end:
        start, shared = cut[end]
        found.append((slice(start, end), shared))
        end = start
    return found[::-1]


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many leading tokens two prompts share, short of the last token of either."""
    most = min(len(one), len(other)) - 1
    return next((i for i in range(most) if one[i] != other[i]), most)


def _keeps_tokens(module: nn.Module, beginning: Sequence[int]) -> bool:
    """Say whether all that a module keeps of a text is keys and values of every token."""
    kept = _kept(module, beginning)
    of_tokens = stock_library().cache_utils.DynamicLayer
    # Layers of other kinds (a window, a state, an index) are subclasses, and not all can be repeated.
    return kept is not None and {type(one) for one in getattr(kept, "layers", ())} == {of_tokens}


def _kept(module: nn.Module, beginning: Sequence[int]) -> Any:
    """Return what a module keeps of a beginning."""
    body: Any = module
    ids = torch.tensor([beginning], device=next(module.parameters()).device)
    with running(module):
        return getattr(body.base_model(input_ids=ids, use_cache=True), "past_key_values", None)


def _behind(module: nn.Module, beginning: Sequence[int], rests: Sequence[Sequence[int]]) -> Tensor:
    """Return what a module says behind the rests of prompts that begin alike."""
    body: Any = module
    kept, device = _kept(module, beginning), next(module.parameters()).device
    ids = torch.zeros(len(rests), max(map(len, rests)), dtype=torch.long)
    for row, rest in enumerate(rests):
        ids[row, : len(rest)] = torch.tensor(rest)
    last = torch.tensor([len(rest) - 1 for rest in rests])
    with running(module):
        kept.batch_repeat_interleave(len(rests))
        states = body.base_model(input_ids=ids.to(device), past_key_values=kept, use_cache=True).last_hidden_state
    return logits_of(module, states[torch.arange(len(rests)), last]).float().cpu()
