"""Is an update unusual among honest ones by the same recipe?  Advisory: whoever trains against it passes.

    d(x) = (x - mean)' C^-1 (x - mean), C = correlation shrunk by .3 to the identity;   z(x) = max |x - median| / MAD
    p = #{i: score of i against all the others >= that of the upload} / (n + 1),   over n references and the upload

Each of the n + 1 is scored against the n others, so every rank is as likely as another for an upload that is one of
them.  Both scores are looked at, so p is doubled; it cannot be below 2 / (n + 1).  There is no reference but that of
the same recipe: another one flags every honest upload.

Source: conformal p-values (Vovk); the scores are usual.  Differs from published detectors: a recipe without references
is not judged.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from mergebarrier.errors import BadScanInput
from mergebarrier.scan.base import NOT_JUDGED, Finding, finding
from mergebarrier.scan.updates.statistics import Profile

#: Doubled p-value up to which an update is called unusual, and the references that such a one takes at least.
ADVISORY_P: Final = 0.05
MIN_REFERENCE: Final = 39
_SHRINK: Final = 0.3
_FLOOR: Final = 1e-3
_MAD: Final = 1.4826


def mahalanobis(reference: Tensor, upload: Tensor) -> float:
    """Return d of an upload, Float64[Tensor, "k"], against references, Float64[Tensor, "n k"]."""
    spread = reference.std(0) + _FLOOR
    z = (reference - reference.mean(0)) / spread
    correlation = (z.T @ z) / max(1, len(reference) - 1)
    shrunk = (1 - _SHRINK) * correlation + _SHRINK * torch.eye(len(upload), dtype=upload.dtype)
    away = (upload - reference.mean(0)) / spread
    return float(away @ torch.linalg.solve(shrunk, away))


def largest_z(reference: Tensor, upload: Tensor) -> float:
    """Return the largest robust z of a number."""
    middle = reference.median(0).values
    spread = _MAD * (reference - middle).abs().median(0).values + 10 * _FLOOR
    return float(((upload - middle).abs() / spread).max())


def p_value(reference: Tensor, upload: Tensor, score: Callable[[Tensor, Tensor], float] = mahalanobis) -> float:
    """Return the p-value of an upload by one score."""
    every = torch.cat([reference, upload[None]])
    index = torch.arange(len(every))
    found = [score(every[index != i], every[i]) for i in index.tolist()]
    return sum(one >= found[-1] for one in found) / len(every)


def judge_update(name: str, upload: Profile, references: Sequence[Sequence[float]]) -> tuple[Finding, ...]:
    """Say whether an update is unusual for its recipe, or that nobody can tell.

    Raises: BadScanInput for numbers that are not finite, or references of another length.
    """
    if not references:
        return not_judged(name, upload, f"there is no reference of the recipe ({upload.recipe})")
    known, ours = (torch.tensor(one, dtype=torch.float64) for one in (references, upload.numbers))
    if known.shape[1:] != ours.shape or not torch.isfinite(torch.cat([known, ours[None]])).all():
        what = f"references of {known.shape[-1]} numbers for {len(ours)}, or numbers that are not finite"
        raise BadScanInput(what, where="--references", remedy="make them anew with --calibrate")
    smallest = 2 / (len(known) + 1)
    if len(known) < MIN_REFERENCE:
        return not_judged(name, upload, f"{len(known)} references allow no p below {smallest:.3f} ({upload.recipe})")
    each = {"distance": p_value(known, ours), "largest z": p_value(known, ours, largest_z)}
    p = min(1.0, 2 * min(each.values()))
    if p > ADVISORY_P:
        return ()
    which = min(each, key=lambda one: each[one])
    message = f"unusual among {len(known)} honest updates by its recipe ({upload.recipe}): p = {p:.3f}, by its {which}"
    evidence: dict[str, str | float | None] = {
        "recipe": upload.recipe,
        "smallest p": smallest,
        "norm": upload.norm,
        "share of one tensor": upload.share,
        "zeros": upload.zeros,
    }
    return (finding("MB7205", name, message, value=1 - p, threshold=1 - ADVISORY_P, evidence=evidence),)


def not_judged(name: str, upload: Profile, why: str) -> tuple[Finding, ...]:
    """Say that nobody can tell, and why."""
    return (finding(NOT_JUDGED, name, f"not judged: {why}", evidence={"recipe": upload.recipe}),)


def judge_rank(name: str, upload: Profile, declared: int) -> tuple[Finding, ...]:
    """Say whether an update that is called an adapter of some rank is of a higher one."""
    if upload.rank <= declared:
        return ()
    message = f"its updates have rank {upload.rank}, an adapter of rank {declared} has no more than that"
    return (finding("MB7207", name, message, value=float(upload.rank), threshold=float(declared)),)
