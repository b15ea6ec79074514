"""After a merge and before its commit: weights against inputs, vocabulary, copies, and perplexity if requested.

Everything reads the output through a preview of the unfinished folder, so that what is found is in the manifest
and the card of the one commit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mergebarrier.checkpoint import Checkpoint, Writer
from mergebarrier.circuits import describe
from mergebarrier.errors import UnsupportedFeature
from mergebarrier.merge.checks import Operand, check_tie, check_vocabulary, check_weights
from mergebarrier.merge.recipe import RecipeView
from mergebarrier.run import Source, one_thread_kernels

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: A merge is suspect when its perplexity is above so many times that of its worst input.
SUSPECT_FACTOR = 3.0
_MAX_TOKENS = 2048
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class MergeInput:
    """A model that goes into a merge, and how manifest and card call it.

    Args:
      role:       "base", "expert", "adapter" or "donor".
      name:       without a path, unique among the inputs.
      checkpoint: opened.
      facts:      more that the manifest holds of it.
    """

    role: str
    name: str
    checkpoint: Checkpoint
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Checks:
    """What a merge is asked beyond its weights.

    Args:
      acknowledge_licence: merge although a licence or an owner forbids it; recorded.
      run:                 measure perplexity, on the built-in text unless there is another.
      text:                measure perplexity on this text.
      dtype:               to run models in; "auto" is what this machine computes in fastest.
    """

    acknowledge_licence: bool = False
    run: bool = False
    text: str | None = None
    dtype: str = "auto"

    @property
    def runs(self) -> bool:
        """Say whether models are run."""
        return self.run or self.text is not None


def check_merged(
    inputs: Sequence[MergeInput],
    sources: Sequence[Source],
    written: Writer,
    side_files: Mapping[str, bytes],
    checks: Checks,
) -> dict[str, Any]:
    """Judge a merge that is written and not committed yet.

    Args:
      inputs:     of the merge.
      sources:    what the merge read, under the output's names.
      written:    the output.
      side_files: of the output.
      checks:     what was asked for.
    Returns: {"weights": figures, "identical_to": names, "warnings": lines, "suspect": bool} and "perplexity" where it
      was asked for.
    """
    config: dict[str, Any] = json.loads(side_files["config.json"])
    with written.preview(config) as merged:
        operands = {name: _operands(name, sources, inputs) for name in merged.tensors}
        base = next((i for i, item in enumerate(inputs) if item.role == "base"), None)
        with one_thread_kernels():
            weights = check_weights(merged, operands, [item.name for item in inputs], base)
        copies = [item.name for item in inputs if item.checkpoint.digests(hashing=written.hashing) == written.digests]
        lines = [f"nothing merged: the output is {name}, bit for bit" for name in copies]
        lines += [*weights.warnings, *check_vocabulary(merged.tensors, config, side_files), *check_tie(merged)]
        found: dict[str, Any] = {"weights": weights.figures, "identical_to": copies, "suspect": False}
        if checks.runs:
            found["perplexity"] = _perplexities(merged, inputs, side_files, checks)
            found["suspect"] = found["perplexity"].pop("suspect")
    if found["suspect"]:
        lines.append("suspect: on this text the merge is far worse than the worst of its inputs")
    return found | {"warnings": lines}


def _operands(name: str, sources: Sequence[Source], inputs: Sequence[MergeInput]) -> list[Operand]:
    """Return the models that a tensor was made of, as the merge saw it: with its rows moved, if they were."""
    if not any(isinstance(source, RecipeView) for source in sources):
        # Whole models: all of them, also where a method has looked at them before and reads only one now.
        named = [(i, item) for i, item in enumerate(inputs) if name in item.checkpoint.tensors]
        return [Operand(i, item.checkpoint, name) for i, item in named]
    order = {id(item.checkpoint): i for i, item in enumerate(inputs)}
    views = [source for source in sources if isinstance(source, RecipeView) and name in source.origins]
    made_of = [(id(view.origins[name].model), view) for view in views]
    return [Operand(order[model], view, name) for model, view in made_of if model in order]


def check_runnable(donor: Checkpoint) -> None:
    """Refuse, before anything is merged, to measure a model that cannot be run.

    Raises: ArchError, UnsupportedFeature without a tokenizer.json.
    """
    describe(donor)
    if _TOKENIZER not in donor.side_files:
        raise UnsupportedFeature(
            "there is no tokenizer.json to measure perplexity with", where=donor.path, remedy="leave the check out"
        )


def _perplexities(
    merged: Checkpoint, inputs: Sequence[MergeInput], side_files: Mapping[str, bytes], checks: Checks
) -> dict[str, Any]:
    """Run the merge and every input on a text, or on the built-in one, with one model in memory at a time."""
    from mergebarrier.evaluate import CHECK_TEXT, compute_dtype, tokenizer_of

    tokenizer = tokenizer_of(side_files[_TOKENIZER], merged.path / _TOKENIZER)
    prose, dtype = CHECK_TEXT if checks.text is None else checks.text, compute_dtype(checks.dtype)
    theirs = {item.name: _perplexity(item.checkpoint, tokenizer, prose, dtype) for item in inputs}
    ours = _perplexity(merged, tokenizer, prose, dtype)
    return {
        "text": "the built-in text" if checks.text is None else "the text that was given",
        "dtype": dtype,
        "merged": _figure(ours),
        "inputs": {name: _figure(value) for name, value in theirs.items()},
        "limit": _figure(SUSPECT_FACTOR * max(theirs.values())),
        "suspect": not ours <= SUSPECT_FACTOR * max(theirs.values()),
    }


def _perplexity(model: Checkpoint, tokenizer: "Tokenizer", text: str, dtype: str) -> float:
    from mergebarrier.evaluate import load_module, perplexity

    return perplexity(load_module(model, dtype), tokenizer, text, _MAX_TOKENS).perplexity


def _figure(value: float) -> float | str:
    """Return four digits; words for a number that JSON does not have."""
    return float(f"{value:.4g}") if value < float("inf") else "infinite"
