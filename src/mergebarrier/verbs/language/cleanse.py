"""Cures of merges of language models on folders: task files give prompts, the search of ``scan`` what is to be cured.

    learning rate = 1e-3 (96 / width) for the cures that train, so that what a step changes is alike at every width

An upload in which nothing was found stands as the honest expert of its task file for another one of the same file.

Source: the rate of Adam falls with the width, arXiv 2203.03466; 1e-3 is what the cures were measured with at width 96.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.evaluate import next_logits, parameter_names
from mergebarrier.merge import Merge
from mergebarrier.scan import Collapse, Says, Weights
from mergebarrier.scan.cures.language import LanguageCure, LanguageMerge, TextRows
from mergebarrier.training import Example, FullRecipe, batches, examples_loss, train_full
from mergebarrier.verbs.language.collapse import TextPool
from mergebarrier.verbs.language.pool import LanguagePool
from mergebarrier.verbs.language.refusals import read_questions

_STEPS: Final = 120
_BATCH: Final = 32
_WARMUP: Final = 20
_RATE: Final = 1e-3
_RATE_WIDTH: Final = 96


def cured_texts(
    cure: LanguageCure,
    base: Checkpoint,
    experts: Mapping[str, Checkpoint],
    tasks: Mapping[str, Path],
    refusals: Sequence[Path],
    *,
    merge: Merge,
    seed: int,
) -> dict[str, Tensor]:
    """Return the cured parameters of a language model by their names in its folder.

    Args:
      cure:     what is done.
      base:     of the merge.
      experts:  name -> upload.
      tasks:    name -> its task file, of which the prompts are read.
      refusals: files of questions, each answered as it ought to be refused.
      merge:    how the experts are merged.
      seed:     of every draw.
    Raises: BadScanInput, BadTask, Diverged, and what loading a model raises.
    """
    questions = read_questions(refusals)
    pool = LanguagePool(base, experts)
    search = TextPool(pool, tasks, seed=seed)
    searched = {name: search.searched(name, module)[0] for name, module in pool.modules()} if cure.seeks else {}
    found = {name: one for name, one in searched.items() if one.alarming}
    stored = {own: name for name, own in parameter_names(pool.base, base.tensors).items()}
    uploads = {name: _weights(module) for name, module in pool.modules()}

    def merged(start: Weights, some: Sequence[Weights]) -> Weights:
        # Methods that draw do so by the names in the file.
        return {own: merge.merge(one, [each[own] for each in some], name=stored[own]) for own, one in start.items()}

    patient = LanguageMerge(
        module=pool.base,
        uploads=uploads,
        merge=merged,
        searches={name: search.prompts(task) for name, task in tasks.items()},
        says=_says,
        found=found,
        proxies=_proxies(uploads, tasks, found),
        learn=lambda module, rows: _learn(module, rows, seed),
        questions=[(pool.tokens(one.prompt), pool.tokens(one.refusal, behind=True)) for one in questions],
    )
    return {stored[own]: tensor for own, tensor in cure.apply(patient).items()}


def _proxies(
    uploads: Mapping[str, Weights], tasks: Mapping[str, Path], found: Mapping[str, Collapse]
) -> dict[str, Weights]:
    """Return an honest expert of the same task for each upload in which something was found, where there is one."""
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in tasks.items()}
    honest = {digests[name]: uploads[name] for name in reversed(list(uploads)) if name not in found}
    return {name: honest[digests[name]] for name in found if digests[name] in honest}


def _learn(module: Any, rows: TextRows, seed: int) -> None:
    """Fine-tune a module on rows, in place."""
    recipe = FullRecipe(
        steps=_STEPS,
        learning_rate=_RATE * _RATE_WIDTH / module.config.get_text_config().hidden_size,
        batch_size=_BATCH,
        weight_decay=0.0,
        warmup_steps=_WARMUP,
        seed=seed,
    )
    examples = [Example(*row) for row in rows]
    visits = batches(len(examples), recipe.batch_size, seed=seed, label="cure")
    train_full(module, recipe, lambda step: examples_loss(module, [examples[i] for i in next(visits).tolist()]))


def _says(module: nn.Module) -> Says:
    return lambda prompts: next_logits(module, prompts)


def _weights(module: nn.Module) -> Weights:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}
