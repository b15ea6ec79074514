"""Uploads of one language model, loaded one after the other, and their merge with the base in the place of any.

    replaced(i) = merge of the models, the base standing for i at the coefficients of i

Whoever is suspected is replaced and not left out: giving its weight to the others would raise the share of a guilty one
among them.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.evaluate import load_module, load_tokenizer
from mergebarrier.scan import Attempt, Weights, plainly

MergeOf = Callable[[Weights, Sequence[Weights]], Weights]


class LanguagePool:
    """A base and its uploads.

    Args:
      base:    a language model.
      experts: name -> upload that has its tensors.
      device:  where they run; merges are made on the processor.
      attempt: runs what is done with an upload; one with which it says False is left out from then on.
    """

    def __init__(
        self,
        base: Checkpoint,
        experts: Mapping[str, Checkpoint],
        device: str = "cpu",
        attempt: Attempt = plainly,
    ) -> None:
        """Load the base and its tokenizer."""
        self._device = device
        self.base = load_module(base, "float32", device).requires_grad_(False)
        self.tokenizer = load_tokenizer(base)
        self._experts = dict(experts)
        self._attempt = attempt

    def tokens(self, text: str, *, behind: bool = False) -> tuple[int, ...]:
        """Return the tokens of a prompt, or of what goes ``behind`` one."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=not behind).ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the uploads that nothing is known to be the matter with."""
        return tuple(self._experts)

    @property
    def size(self) -> int:
        """Return how many uploads there are."""
        return len(self._experts)

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Load the uploads; each may be let go before the next one."""
        for name in self.names:
            loaded: list[nn.Module] = []
            if self.attempt(name, partial(self._load, name, loaded)):
                yield name, loaded.pop()

    def attempt(self, name: str, work: Callable[[], object]) -> bool:
        """Do something with an upload, or with ``MERGED``; an upload that stops it is left out from then on."""
        done = self._attempt(name, work)
        if not done:
            self._experts.pop(name, None)
        return done

    def _load(self, name: str, loaded: list[nn.Module]) -> None:
        loaded.append(load_module(self._experts[name], "float32", self._device).requires_grad_(False))

    def merge(self, merged: MergeOf) -> "MergedPool | None":
        """Load all, and merge; None where fewer than two are left."""
        weights = {name: _weights(module) for name, module in self.modules()}
        return MergedPool(self.base, weights, merged) if len(weights) > 1 else None


class MergedPool:
    """Loaded uploads, and how they are merged."""

    def __init__(self, base: nn.Module, experts: Mapping[str, Weights], merged: MergeOf) -> None:
        """Keep them."""
        self._base, self._experts, self._merged = base, experts, merged
        self.names = tuple(experts)

    def whole(self) -> nn.Module:
        """Return the merge of all."""
        return self._with(self._merged(_weights(self._base), list(self._experts.values())))

    def alone(self, name: str) -> nn.Module:
        """Return one upload."""
        return self._with(self._experts[name])

    def replaced(self, name: str) -> nn.Module:
        """Return the merge with the base in the place of one upload."""
        base = _weights(self._base)
        return self._with(self._merged(base, [base if n == name else one for n, one in self._experts.items()]))

    def _with(self, weights: Weights) -> nn.Module:
        module = copy.deepcopy(self._base)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(weights[name])
        return module


def _weights(module: nn.Module) -> Weights:
    return {name: parameter.detach().cpu() for name, parameter in module.named_parameters()}
