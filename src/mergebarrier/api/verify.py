"""``verify``: does one model still do what another does?  Names, shapes, manifest, logits, KL, perplexity.

equal  <=>  no difference of structure, no problem with the manifest, and KL(original | protected) <= max_kl
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from mergebarrier.api.base import Model, Report, opened, optional, shown
from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, verify_manifest
from mergebarrier.evaluate import (
    CHECK_TEXT,
    compare,
    compute_dtype,
    load_module,
    load_tokenizer,
    perplexity,
    read_text,
    token_ids,
)
from mergebarrier.progress import Progress

_STEPS: Final = 3


@dataclass(frozen=True, kw_only=True)
class VerifyReport(Report):
    """How far a model is from the original; figures are there where the structures are equal.

    Attributes:
      dtype:                 of the arithmetic.
      structure_differences: a line per tensor or file that differs in name, shape or dtype.
      manifest_problems:     a line per file that is not what the manifest of the protected model lists.
      max_rel_logit_error:   greatest difference of a logit over the greatest logit.
      kl_nats:               KL to the original, nats per token.
      top1_agreement:        share of tokens with the same first choice.
      tokens:                tokens compared.
      perplexity_original, perplexity_protected: on the same text.
      floor_kl_nats:         in bfloat16: how far the original is from itself in float32.
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
    equal: bool


def verify(
    original: Model,
    protected: Model,
    *,
    text: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    max_tokens: int = 1024,
    max_kl: float = 0.01,
    download: bool = False,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compare a protected model with the original.

    Args:
      original:   as ``resolve`` reads it.
      protected:  the same.
      text:       a plain UTF-8 file to compare on; default a built-in page.
      dtype:      of the arithmetic, or "auto" for the one that this machine computes in fastest.
      max_tokens: read of the text.
      max_kl:     nats per token up to which the two count as equal.
      download:   fetch models that the local cache lacks.
      progress:   called with (steps done, steps).
    Raises: CheckpointError, ArchError, BadText, MissingExtra.
    """
    words = CHECK_TEXT if text is None else read_text(text)
    with opened(original, protected, download=download) as (ours, theirs), shown(progress, "verifying") as step:
        manifest = (theirs.root / MANIFEST_NAME).exists()
        report = VerifyReport(
            dtype=compute_dtype(dtype),
            structure_differences=tuple(_differences(ours, theirs)),
            manifest_problems=tuple(verify_manifest(theirs.folders[0])) if manifest else (),
            equal=False,
        )
        if report.structure_differences:
            return report
        report = _measured(report, ours, theirs, words, max_tokens, step)
    alike = report.kl_nats is not None and report.kl_nats <= max_kl
    return replace(report, equal=alike and not report.manifest_problems)


def _differences(ours: Checkpoint, theirs: Checkpoint) -> Iterator[str]:
    """Yield every way in which names, shapes, dtypes or config differ."""
    yield from (f"only in the original: {name}" for name in ours.tensors if name not in theirs.tensors)
    yield from (f"only in the protected model: {name}" for name in theirs.tensors if name not in ours.tensors)
    for name, info in ours.tensors.items():
        other = theirs.tensors.get(name)
        if other is not None and (info.dtype, info.shape) != (other.dtype, other.shape):
            yield f"{name}: {info.dtype} {info.shape} became {other.dtype} {other.shape}"
    if ours.config != theirs.config:
        yield "config.json differs"


def _measured(
    report: VerifyReport, ours: Checkpoint, theirs: Checkpoint, text: str, max_tokens: int, progress: Progress
) -> VerifyReport:
    """Run both models on the text."""
    tokenizer = load_tokenizer(ours)
    ids = token_ids(tokenizer, text, max_tokens)
    first, second = load_module(ours, report.dtype), load_module(theirs, report.dtype)
    progress(1, _STEPS)
    found = compare(first, second, ids)
    progress(2, _STEPS)
    report = replace(
        report,
        max_rel_logit_error=found.max_rel_logit_error,
        kl_nats=found.kl_nats,
        top1_agreement=found.top1_agreement,
        tokens=found.tokens,
        perplexity_original=perplexity(first, tokenizer, text, max_tokens).perplexity,
        perplexity_protected=perplexity(second, tokenizer, text, max_tokens).perplexity,
    )
    if report.dtype == "bfloat16":
        del second
        report = replace(report, floor_kl_nats=compare(load_module(ours, "float32"), first, ids).kl_nats)
    progress(_STEPS, _STEPS)
    return report
