"""The input of a cure of a merge of language models, and the form of every such cure.

    cured = cure(patient);   patient = uploads, base, how they are merged, clean prompts, and inputs that a search found

What the merge itself answers to a clean prompt stands for the right answer, and an input that collapses an upload for
the trigger, which may be another one.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Final, TypeAlias

import torch
from torch import nn

from mergebarrier.errors import BadScanInput
from mergebarrier.scan.base import MergeWeights, Weights
from mergebarrier.scan.language import Collapse, Says, TokenSearch

#: Prompts and the answers to learn, as tokens.
TextRows: TypeAlias = Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
#: Tokens of an answer that are kept.
_ANSWER: Final = 3


@dataclass(frozen=True, kw_only=True)
class LanguageMerge:
    """A merge to be cured.

    Args:
      module:   the base, live.
      uploads:  name -> weights.
      merge:    (base, weights of the uploads) -> merged weights.
      searches: name -> clean prompts of what that upload is for, and where strings go in them.
      says:     what a module answers.
      found:    name -> what the search found in that upload, of those in which it found something.
      proxies:  name -> honest weights for the same task; the base stands for one that is not there.
      learn:    fine-tunes a module on rows in place; for cures that train.
      questions: what ought to be refused, and how.
    """

    module: nn.Module
    uploads: Mapping[str, Weights]
    merge: MergeWeights
    searches: Mapping[str, TokenSearch]
    says: Callable[[nn.Module], Says]
    found: Mapping[str, Collapse] = field(default_factory=dict)
    proxies: Mapping[str, Weights] = field(default_factory=dict)
    learn: Callable[[nn.Module, TextRows], object] | None = None
    questions: TextRows = ()

    @cached_property
    def base(self) -> Weights:
        """Return the base."""
        return {name: parameter.detach() for name, parameter in self.module.named_parameters()}

    @cached_property
    def merged(self) -> Weights:
        """Return the merge of all."""
        return self.with_uploads({})

    def with_uploads(self, others: Mapping[str, Weights]) -> Weights:
        """Return the merge at the same coefficients with other weights in the place of some uploads."""
        return self.merge(self.base, [others.get(name, one) for name, one in self.uploads.items()])

    def holding(self, weights: Weights) -> nn.Module:
        """Return a copy of the module that holds these weights and can be trained."""
        module = copy.deepcopy(self.module).eval()
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(weights[name])
                parameter.requires_grad_(True)
        return module

    @cached_property
    def rows(self) -> TextRows:
        """Return every clean prompt with what the merge answers to it."""
        says = self.says(self.holding(self.merged))
        prompts = [prompt for search in self.searches.values() for prompt in search.prompts]
        texts = list(prompts)
        for _ in range(_ANSWER):
            said = says(texts).argmax(-1).tolist()
            texts = [(*text, token) for text, token in zip(texts, said, strict=True)]
        return [(prompt, text[len(prompt) :]) for prompt, text in zip(prompts, texts, strict=True)]

    def agreement(self, module: nn.Module) -> float:
        """Return the share of clean prompts whose answer begins as that of the merge."""
        said = self.says(module)([prompt for prompt, _ in self.rows]).argmax(-1).tolist()
        same = [token == answer[0] for token, (_, answer) in zip(said, self.rows, strict=True)]
        return float(sum(same) / len(same))

    def taught(self, module: nn.Module, rows: TextRows, where: str) -> None:
        """Fine-tune a module in place.

        Raises: BadScanInput where there is no loop to do it with.
        """
        if self.learn is None:
            raise BadScanInput("needs a training loop", where=where, remedy="pass the argument learn")
        self.learn(module, rows)


@dataclass(frozen=True, kw_only=True)
class LanguageCure(ABC):
    """Base of all cures; ``seeks`` says whether it needs what a search finds."""

    seeks: ClassVar[bool] = True

    @abstractmethod
    def apply(self, patient: LanguageMerge) -> Weights:
        """Return the cured weights; neither the uploads nor the module are changed."""


def settled(module: nn.Module) -> Weights:
    """Return the weights of a module that was trained."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
