"""``verify``: does one model still do what another does?  Names, shapes, manifest, logits, KL, perplexity.

equal  <=>  no difference of structure but what ``widen`` makes, no problem with the manifest,
            KL(original | protected) <= max_kl, and every other output within 3 %, or within three times the noise of
            the dtype that the models run in

Models that continue a text are compared token by token; all others, and what reads pictures or sound, by their answers.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mergebarrier import verbs
from mergebarrier.api.base import Model, Report, opened, optional, shown
from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, read_manifest, verify_manifest
from mergebarrier.circuits import describe, plan_of, stock_entries, written_out
from mergebarrier.errors import ArchError, CheckpointError, UsageError
from mergebarrier.evaluate import (
    CHECK_TEXT,
    compare,
    compare_answers,
    compute_dtype,
    configure_alike,
    continues_text,
    device_named,
    load_module,
    load_tokenizer,
    perplexity,
    read_text,
    reads_more,
    reads_tokens,
    token_ids,
)
from mergebarrier.identity import repeats, spelled_like
from mergebarrier.numerics import draws
from mergebarrier.progress import Progress
from mergebarrier.protect import Widen

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

_STEPS: Final = 3
_TOKENIZER: Final = "tokenizer.json"
#: Largest relative error of an output that is not a text's next token.
_MAX_ERROR: Final = 0.03


@dataclass(frozen=True, kw_only=True)
class VerifyReport(Report):
    """How far a model is from the original; figures are there where the structures are equal.

    Attributes:
      dtype:                 of the arithmetic.
      device:                where the models ran.
      structure_differences: a line per tensor or file that differs in name, shape or dtype.
      manifest_problems:     a line per file that is not what the manifest of the protected model lists.
      max_rel_logit_error:   greatest difference of a logit over the greatest logit.
      kl_nats:               KL to the original, nats per token; of a classifier, per choice.
      top1_agreement:        share of tokens with the same first choice.
      tokens:                tokens compared.
      perplexity_original, perplexity_protected: on the same text, of models that continue one.
      floor_kl_nats:         in bfloat16: how far the original is from itself in float32.
      outputs:               what was compared besides, or instead, where a model does more than continue a text.
      max_rel_output_error:  greatest difference in one of them over its greatest value.
      floor_output_error:    in bfloat16: that error between the original and itself in float32.
      stress:                what storage formats, a short cache and a fine-tune do to both, where that was asked; it
                             decides nothing about ``equal``.
      equal:                 whether all of it holds.
    """

    kind: ClassVar[str] = "verify"

    dtype: str
    structure_differences: tuple[str, ...]
    manifest_problems: tuple[str, ...]
    max_rel_logit_error: float | None = optional()
    kl_nats: float | None = optional()
    top1_agreement: float | None = optional()
    tokens: int | None = optional()
    perplexity_original: float | None = optional()
    perplexity_protected: float | None = optional()
    floor_kl_nats: float | None = optional()
    outputs: tuple[str, ...] | None = optional()
    max_rel_output_error: float | None = optional()
    floor_output_error: float | None = optional()
    stress: "tuple[verbs.Stressed, ...] | None" = optional()
    equal: bool
    device: str = "cpu"


def verify(
    original: Model,
    protected: Model,
    *,
    text: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    max_tokens: int = 1024,
    max_kl: float = 0.01,
    stress: bool = False,
    download: bool = False,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compare a protected model with the original.

    Args:
      original:   as ``resolve`` reads it.
      protected:  the same.
      text:       a plain UTF-8 file to compare on; default a built-in page.
      dtype:      of the arithmetic, or "auto" for the one that this machine computes in fastest.
      device:     "auto", "cpu", "cuda" or "cuda:N".
      max_tokens: read of the text.
      max_kl:     nats per token up to which the two count as equal.
      stress:     also measure both under storage formats, a cache of few bits and a short fine-tune.
      download:   fetch models that the local cache lacks.
      progress:   called with (steps done, steps).
    Raises: UsageError, CheckpointError, ArchError, BadText, UnsupportedFeature, MissingExtra, NoDevice.
    """
    place = device_named(device)
    words = CHECK_TEXT if text is None else read_text(text)
    if not 0 <= max_kl < math.inf:
        raise UsageError(f"{max_kl} is not a number of nats from 0", where="--max-kl", remedy="give such as 0.01")
    with opened(original, protected, download=download) as (ours, theirs), shown(progress, "verifying") as step:
        same = spelled_like(ours, theirs)
        manifest = (theirs.root / MANIFEST_NAME).exists()
        report = VerifyReport(
            dtype=compute_dtype(dtype, "cpu" if place == "cpu" else "cuda"),
            device=place,
            structure_differences=() if _reshaped(ours, theirs) else tuple(_differences(ours, same)),
            manifest_problems=tuple(verify_manifest(theirs.folders[0])) if manifest else (),
            equal=False,
        )
        if report.structure_differences:
            return report
        report = _measured(report, ours, same, words, max_tokens, step)
        if stress:
            report = replace(report, stress=verbs.stress(ours, same, words, max_tokens, step))
    return replace(report, equal=_alike(report, max_kl) and not report.manifest_problems)


def _reshaped(ours: Checkpoint, theirs: Checkpoint) -> bool:
    """Say whether the manifest names a method that changes shapes on purpose; what the models say is compared then."""
    if not (theirs.root / MANIFEST_NAME).exists() or ours.config.get("model_type") != theirs.config.get("model_type"):
        return False
    try:
        content = read_manifest(theirs.root)["content"]
    except CheckpointError:
        return False  # what is wrong with it is reported
    before = content.get("protected_before")
    methods = [content.get("method"), *(before if isinstance(before, list) else [])]
    return any(Widen.name in str(method).split("+") for method in methods)


def _alike(report: VerifyReport, max_kl: float) -> bool:
    limit = max(_MAX_ERROR, 3 * (report.floor_output_error or 0.0))
    judged = ((report.kl_nats, max_kl), (report.max_rel_output_error, limit))
    return all(value <= most for value, most in judged if value is not None)


def _differences(ours: Checkpoint, theirs: Checkpoint) -> Iterator[str]:
    """Yield every way in which names, shapes, dtypes or config differ, buffers and copies of tied heads aside."""
    plan, config = plan_of(theirs), theirs.config
    inside = tuple(f"{path}." for path in plan["blocks"]) if plan is not None else ()
    stock = set(_stood_for(ours, theirs)) if plan is not None else set()
    yield from (f"only in the original: {name}" for name in _alone(ours, theirs) if name not in stock)
    yield from (f"only in the protected model: {name}" for name in _alone(theirs, ours) if not name.startswith(inside))
    for name, info in ours.tensors.items():
        other = theirs.tensors.get(name)
        computed = info.role == "buffer"
        if other is not None and not computed and (info.dtype, info.shape) != (other.dtype, other.shape):
            yield f"{name}: {info.dtype} {info.shape} became {other.dtype} {other.shape}"
    if plan is not None:
        entries, unsaid = stock_entries(config, plan)
        config = {key: value for key, value in (config | entries).items() if key not in unsaid}
    if ours.config != config and not _means_ours(ours, theirs, config):
        yield "config.json differs"


def _means_ours(ours: Checkpoint, theirs: Checkpoint, config: Mapping[str, object]) -> bool:
    """Say whether another spelling of a configuration, with defaults written out or left out, describes our model."""
    try:
        first, second = (written_out(said, describe(side)) for side, said in ((ours, ours.config), (theirs, config)))
    except ArchError:
        return False  # nothing says what the sizes mean
    return first == second or configure_alike(first, second, theirs.path / "config.json")


def _stood_for(ours: Checkpoint, theirs: Checkpoint) -> Iterator[str]:
    """Yield the tensors of the original in whose place the other has polynomials."""
    replaced = {name for names in describe(theirs).stands_for.values() for name in names}
    for circuit in describe(ours).circuits:
        yield from (member.name for member in circuit.members if member.canonical in replaced)


def _alone(side: Checkpoint, other: Checkpoint) -> Iterator[str]:
    """Yield the tensors that only one side holds; not buffers, nor what repeats another tensor of it."""
    for name, info in side.tensors.items():
        if name not in other.tensors and info.role != "buffer" and repeats(side, name) is None:
            yield name


def _measured(
    report: VerifyReport, ours: Checkpoint, theirs: Checkpoint, text: str, max_tokens: int, progress: Progress
) -> VerifyReport:
    """Run both models on the text, and on whatever else they read."""
    tokenizer = load_tokenizer(ours) if _TOKENIZER in ours.side_files else None
    first, second = (load_module(side, report.dtype, report.device) for side in (ours, theirs))
    ids = _ids(first, tokenizer, text, max_tokens)
    progress(1, _STEPS)
    report = replace(report, **_figures(first, second, ids))
    progress(2, _STEPS)
    if continues_text(first) and tokenizer is not None:
        scores = [perplexity(module, tokenizer, text, max_tokens).perplexity for module in (first, second)]
        report = replace(report, perplexity_original=scores[0], perplexity_protected=scores[1])
    if report.dtype == "bfloat16":
        del second
        floor = _figures(load_module(ours, "float32", report.device), first, ids)
        report = replace(
            report, floor_kl_nats=floor.get("kl_nats"), floor_output_error=floor.get("max_rel_output_error")
        )
    progress(_STEPS, _STEPS)
    return report


def _ids(module: "nn.Module", tokenizer: "Tokenizer | None", text: str, max_tokens: int) -> "Tensor | None":
    """Return tokens of the text; drawn ones without a tokenizer; None for a model that reads no text."""
    if not reads_tokens(module):
        return None
    if tokenizer is not None:
        return token_ids(tokenizer, text, max_tokens)
    config: Any = module.config
    return draws.below(("verify", "tokens"), config.get_text_config().vocab_size, max_tokens)


def _figures(first: "nn.Module", second: "nn.Module", ids: "Tensor | None") -> dict[str, Any]:
    """Compare two modules: names and values of fields of the report."""
    found: dict[str, Any] = {}
    if continues_text(first) and ids is not None:
        found = vars(compare(first, second, ids)).copy()
        if not reads_more(first):
            return found
    other = compare_answers(first, second, ids)
    more = {"kl_nats": other.kl_nats, "top1_agreement": other.top1_agreement, "tokens": other.tokens}
    return more | found | {"outputs": other.outputs, "max_rel_output_error": other.max_rel_error}
