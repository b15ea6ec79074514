"""A language model seen from outside: it continues texts greedily, and nothing else can be asked of it.

token_{t+1} = argmax logits(prompt, token_1, ..., token_t),   until an end token or ``max_tokens``
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mergebarrier.errors import BadText, NonFinite
from mergebarrier.evaluate.language.forward import check_vocabulary, hidden_states, logit_blocks, max_positions

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def marks(config: Mapping[str, Any], *names: str) -> list[int]:
    """Return the special tokens of a configuration, by the keys that give one or a list; ``eos_token_id`` by default.

    Example:
      >>> marks({"eos_token_id": [2, 3], "pad_token_id": None}), marks({"pad_token_id": 0}, "pad_token_id")
      ([2, 3], [0])
    """
    named = [config.get(name) for name in names or ("eos_token_id",)]
    listed = [one for mark in named for one in (mark if isinstance(mark, list) else [mark])]
    return [one for one in listed if isinstance(one, int)]


class ModuleSuspect:
    """A ``Suspect`` that is a module in this process; every step reads the whole text again, so it is for short
    answers.

    Args:
      module:    from ``load_module``.
      tokenizer: from ``load_tokenizer``.
      ends:      token ids that end an answer.
    """

    def __init__(self, module: nn.Module, tokenizer: "Tokenizer", *, ends: Collection[int] = ()) -> None:
        """Keep what answers."""
        self.module, self.tokenizer, self.ends = module, tokenizer, frozenset(ends)

    def answers(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        """Return the greedy continuation of each prompt.

        Raises: BadText for a prompt without tokens, of another vocabulary, or that leaves no room for an answer;
                NonFinite for a model whose best logit is no number: it says nothing, which is no silence.
        """
        return [self._answer(prompt, max_tokens) for prompt in prompts]

    @torch.no_grad()
    def _answer(self, prompt: str, max_tokens: int) -> str:
        ids: list[int] = self.tokenizer.encode(prompt).ids
        check_vocabulary(self.module, ids, BadText)
        room = max_positions(self.module) - len(ids)
        if not ids or room < 1:
            what = f"{len(ids)} tokens, the model reads 1 to {max_positions(self.module) - 1} before it answers"
            raise BadText(what, where="prompt", remedy="give a shorter prompt" if ids else "give some words")
        return str(self.tokenizer.decode(self._continued(ids, min(max_tokens, room), prompt)))

    def _continued(self, ids: list[int], most: int, prompt: str) -> list[int]:
        """Return what follows the tokens of a prompt, ``most`` tokens at most."""
        said: list[int] = []
        while len(said) < most:
            last = hidden_states(self.module, torch.tensor([ids + said]))[0, -1:]
            ((_, logits),) = logit_blocks(self.module, last)
            if not math.isfinite(float(logits[0].max())):
                what = "the model answers numbers that are not finite"
                raise NonFinite(what, where="answers", remedy="check its weights")
            token = int(logits[0].argmax())
            if token in self.ends:
                break
            said.append(token)
        return said
