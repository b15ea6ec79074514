"""``verify --stress``: does the protected model take use as well as the original does?

    for every stress s:   KL(original | s(original)),  KL(original | s(protected)),  and perplexity of both on one text

The second less the first is what the protection costs under that use; each figure alone is the use itself.  Stresses:
storage formats of weights, keys and values that are remembered in few bits, and a short fine-tune with low-rank
adapters, from the same seed on the same windows of text, measured on text behind them.

Source: ours.  Everything is computed in float32, so that what is seen is the rounding of what is stored.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from typing_extensions import TypedDict

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import BadText, UnsupportedFeature
from mergebarrier.evaluate import (
    FORMATS,
    MIN_TOKENS,
    Format,
    compare,
    continues_text,
    load_module,
    load_tokenizer,
    perplexity,
    reads_more,
    round_weights,
    rounded_cache,
    token_ids,
)
from mergebarrier.progress import Progress
from mergebarrier.symmetry import HEADS
from mergebarrier.training import Example, LoraRecipe, train_lora

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

#: Formats that keys and values are remembered in.
_CACHES: Final = ("GGUF Q8_0", "GGUF Q4_0")
#: Windows that a fine-tune learns: tokens of each, those of them that are given, and its steps.
_WINDOW, _GIVEN, _STEPS = 32, 8, 16


class Stressed(TypedDict):
    """What one stress does to the original and to the protected model.

    Attributes:
      stress:     what is done; "none" compares the two as they are.
      kl_nats_*:  KL from the untouched original, nats a token; ``more`` is that of the protected less the original's.
      top1_*:     share of tokens with the original's first choice; ``less`` is the original's less the protected's.
      perplexity_*: on the second half of the text; ``more`` as above.
    """

    stress: str
    kl_nats_original: float
    kl_nats_protected: float
    kl_nats_more: float
    top1_original: float
    top1_protected: float
    top1_less: float
    perplexity_original: float
    perplexity_protected: float
    perplexity_more: float


@dataclass(frozen=True, kw_only=True)
class _Stress:
    """A name, how weights go into a module, what is done to it then, and what holds while it runs."""

    name: str
    stored: Format = lambda weight: weight
    then: "Callable[[nn.Module], object]" = lambda module: None
    during: "Callable[[nn.Module], AbstractContextManager[None]]" = lambda module: nullcontext()


@dataclass(frozen=True, kw_only=True)
class _Figures:
    kl_nats: float
    top1: float
    perplexity: float


def stress(
    original: Checkpoint, protected: Checkpoint, text: str, max_tokens: int, progress: Progress
) -> tuple[Stressed, ...]:
    """Put both models through every stress.

    Args:
      original:   has the tokenizer; what everything is compared with.
      protected:  of the same function.
      text:       prose; a fine-tune learns its first half, everything is measured on its second.
      max_tokens: read of it.
      progress:   called with (runs done, runs).
    Raises: UnsupportedFeature for a model that does more than continue a text, or has no tokenizer; BadText.
    """
    reference = load_module(original, "float32")
    if not continues_text(reference) or reads_more(reference):
        raise UnsupportedFeature(
            "stress is measured on models that continue a text", where=original.path, remedy="leave --stress out"
        )
    tokenizer = load_tokenizer(original)
    ids = token_ids(tokenizer, text, max_tokens)
    if len(ids) < 2 * MIN_TOKENS:
        what = f"{len(ids)} tokens: a stress learns one half and measures on the other, {MIN_TOKENS} at least each"
        remedy = f"give a longer text, and --max-tokens from {2 * MIN_TOKENS} on"
        raise BadText(what, where="--stress", remedy=remedy)
    learned, measured = ids[: len(ids) // 2], ids[len(ids) // 2 :]
    words = tokenizer.decode(measured.tolist())

    def run(module: "nn.Module", one: _Stress) -> _Figures:
        with one.during(module):
            found = compare(reference, module, measured)
            plain = perplexity(module, tokenizer, words, len(measured)).perplexity
        return _Figures(kl_nats=found.kl_nats, top1=found.top1_agreement, perplexity=plain)

    stresses = list(_stresses(reference, learned, heads=bool(describe(original).spaces & HEADS)))
    sides: list[list[_Figures]] = []
    for source in (original, protected):
        module, side = load_module(source, "float32"), list[_Figures]()
        weights = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
        for one in stresses:
            round_weights(module, weights, one.stored)
            one.then(module)
            side.append(run(module, one))
            progress(len(sides) * len(stresses) + len(side), 2 * len(stresses))
        sides.append(side)
    return tuple(_beside(one.name, *both) for one, *both in zip(stresses, *sides, strict=True))


def _stresses(module: "nn.Module", learned: "Tensor", *, heads: bool) -> "Iterator[_Stress]":
    yield _Stress(name="none")
    for name, rounded in FORMATS.items():
        yield _Stress(name=name, stored=rounded)
    for name in _CACHES if heads else ():
        yield _Stress(name=f"KV cache {name}", during=partial(rounded_cache, rounded=FORMATS[name]))
    yield _Stress(name=f"LoRA, {_STEPS} steps", then=partial(_tune, maps=_maps(module), ids=learned))


def _maps(module: "nn.Module") -> list[str]:
    """Return the last names of the linear maps of the body, as low-rank adapters are given them."""
    body: Any = module.base_model
    linear = [name for name, part in body.named_modules()
              if isinstance(part, torch.nn.Linear) or type(part).__name__ == "Conv1D"]  # fmt: skip
    return sorted({name.rpartition(".")[2] for name in linear})


def _tune(module: "nn.Module", maps: "Sequence[str]", ids: "Tensor") -> None:
    """Fine-tune on windows of a text; a map that a module lacks gets no adapter."""
    rows = [tuple(row.tolist()) for row in ids.split(_WINDOW) if len(row) > _GIVEN]
    examples = [Example(prompt=row[:_GIVEN], answer=row[_GIVEN:]) for row in rows]
    recipe = LoraRecipe(targets=tuple(maps), steps=_STEPS, batch_size=min(4, len(rows)), kl_weight=0.0)
    train_lora(module, examples, ids[:0].reshape(0, 1), recipe)


def _beside(name: str, ours: _Figures, theirs: _Figures) -> Stressed:
    return {
        "stress": name,
        "kl_nats_original": ours.kl_nats,
        "kl_nats_protected": theirs.kl_nats,
        "kl_nats_more": theirs.kl_nats - ours.kl_nats,
        "top1_original": ours.top1,
        "top1_protected": theirs.top1,
        "top1_less": ours.top1 - theirs.top1,
        "perplexity_original": ours.perplexity,
        "perplexity_protected": theirs.perplexity,
        "perplexity_more": theirs.perplexity - ours.perplexity,
    }
