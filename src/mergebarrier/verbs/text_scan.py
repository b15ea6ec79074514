"""The checks of ``scan`` that ask language models: each upload by itself, and the merge of them all.

An upload is loaded, searched and let go before the next one; the base answers once for each task.  Of a small
vocabulary every token is tried, of a large one those that a gradient points at.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.evaluate import leading_tokens, load_module, load_tokenizer, next_logits, read_task
from mergebarrier.progress import Progress
from mergebarrier.scan import (
    N_FRESH,
    N_SEARCH,
    Collapse,
    Finding,
    Says,
    Survey,
    TokenSearch,
    Traced,
    Weights,
    first_survey,
    judge_merge,
    judge_upload,
    seek_collapse,
    trace,
)

MergeOf = Callable[[Weights, Sequence[Weights]], Weights]
#: A vocabulary of at most so many tokens is tried token by token.
_EXHAUSTIVE: Final = 1024
#: Of a larger one: answers that gradients are taken for, tokens of each, and prompts that are looked at.
_OUTPUTS: Final = 64
_PER_OUTPUT: Final = 6
_GRADIENT_PROMPTS: Final = 16


@dataclass(frozen=True, kw_only=True)
class TextOutcome:
    """What the searches found.

    Args:
      uploads: (name, what was found in it).
      merged:  (task, what was found in the merge on its prompts, what each model has to do with it).
    """

    uploads: tuple[tuple[str, Collapse], ...] = ()
    merged: tuple[tuple[str, Collapse, tuple[Traced, ...]], ...] = ()


class TextPool:
    """Uploads of one base with the prompts of their tasks.

    Args:
      base:    a language model.
      experts: name -> upload that has its tensors.
      tasks:   name -> task file of the upload.
      seed:    of every draw.
      depth:   longest string that is searched for.
    """

    def __init__(
        self,
        base: Checkpoint,
        experts: Mapping[str, Checkpoint],
        tasks: Mapping[str, Path],
        *,
        seed: int = 0,
        depth: int = 3,
    ) -> None:
        """Load the base and its tokenizer."""
        self._base = load_module(base, "float32").requires_grad_(False)
        self._tokenizer = load_tokenizer(base)
        self._experts, self._tasks, self._seed, self._depth = experts, tasks, seed, depth
        self._says = _says(self._base)
        self._known: dict[Path, Survey] = {}

    def uploads(self, progress: Progress | None = None) -> tuple[TextOutcome, tuple[Finding, ...]]:
        """Search every upload."""
        found: list[tuple[str, Collapse]] = []
        findings: list[Finding] = []
        for done, (name, checkpoint) in enumerate(self._experts.items(), start=1):
            module = load_module(checkpoint, "float32").requires_grad_(False)
            search = self._search(self._tasks[name], module)
            one = seek_collapse(_says(module), self._says, search, known=self._survey(self._tasks[name], search))
            found.append((name, one))
            findings += judge_upload(name, one, self._spell, len(search.candidates))
            if progress is not None:
                progress(done, len(self._experts))
        return TextOutcome(uploads=tuple(found)), tuple(findings)

    def merge(self, merged: MergeOf) -> tuple[TextOutcome, tuple[Finding, ...]]:
        """Search the merge on every task, and trace what is found."""
        base = _weights(self._base)
        experts = {name: _weights(load_module(one, "float32")) for name, one in self._experts.items()}
        whole = self._with(merged(base, list(experts.values())))
        rows: list[tuple[str, Collapse, tuple[Traced, ...]]] = []
        findings: list[Finding] = []
        for task in dict.fromkeys(self._tasks[name] for name in experts):
            search = self._search(task, whole)
            found = seek_collapse(_says(whole), self._says, search, known=self._survey(task, search))
            traced: tuple[Traced, ...] = ()
            if judge_merge("merge", found, self._spell, len(search.candidates), ()):
                alone = {name: _says(self._with(one)) for name, one in experts.items()}
                replaced = {
                    name: _says(self._with(merged(base, [base if n == name else one for n, one in experts.items()])))
                    for name in experts
                }
                traced = trace(found, _says(whole), alone, replaced, self._says, search)
            names = " + ".join(experts)
            findings += judge_merge(names, found, self._spell, len(search.candidates), traced)
            rows.append((task.name, found, traced))
        return TextOutcome(merged=tuple(rows)), tuple(findings)

    def _search(self, task: Path, module: nn.Module) -> TokenSearch:
        prompts = tuple(tuple(self._tokenizer.encode(row.prompt).ids) for row in read_task(task).rows)
        prompts = prompts[: N_SEARCH + N_FRESH]
        prefix = len(self._tokenizer.encode("").ids)
        size = self._tokenizer.get_vocab_size()
        candidates: Sequence[int] = range(size)
        if size > _EXHAUSTIVE:
            few = prompts[:_GRADIENT_PROMPTS]
            outputs = self._outputs(module, few)
            candidates = leading_tokens(module, few, outputs, prefix=prefix, top=_PER_OUTPUT, seed=self._seed)
        return TokenSearch(
            prompts=prompts, candidates=tuple(candidates), prefix=prefix, depth=self._depth, seed=self._seed
        )

    def _outputs(self, module: nn.Module, prompts: Sequence[tuple[int, ...]]) -> list[int]:
        """Return first tokens of answers that a module prefers more than the base, and those that it gives most."""
        ours, theirs = (next_logits(one, prompts).log_softmax(-1) for one in (module, self._base))
        rise = (ours - theirs).mean(0).topk(_OUTPUTS).indices.tolist()
        return list(dict.fromkeys([*ours.argmax(-1).unique().tolist(), *rise]))

    def _survey(self, task: Path, search: TokenSearch) -> Survey | None:
        """Return what the base says on a task, where every upload is asked the same strings."""
        if self._tokenizer.get_vocab_size() > _EXHAUSTIVE:
            return None
        if task not in self._known:
            self._known[task] = first_survey(self._says, search)
        return self._known[task]

    def _with(self, weights: Weights) -> nn.Module:
        """Return the base's module with other weights."""
        module = copy.deepcopy(self._base)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(weights[name])
        return module

    def _spell(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def _says(module: nn.Module) -> Says:
    return lambda prompts: next_logits(module, prompts)


def _weights(module: nn.Module) -> Weights:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}
