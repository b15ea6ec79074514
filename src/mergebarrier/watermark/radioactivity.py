"""Was a model trained on text that a watermarked sampler wrote?  Then its own text leans the way of the key.

    G    = distinct n-grams of the suspect's answers whose first tokens stand in the service's answers
    T    = hits(G; key) / (|G| trials)
    p_1  = P[Bin(|G| trials, rate) >= hits]
    p_2  = (1 + #{b : T_b >= T}) / (B + 1),     T_b under fresh keys b = 1..B
    p    = max(p_1, p_2)

An n-gram counts once, however often it is said: repeated, it is one draw of the key's and not many.  The second null
is exact whatever the hash does; the first is not for SynthID, whose table of 65,536 bits is read many times over.

Source: arXiv 2402.14904 (radioactivity of watermarks; a suspect that can only be asked).
Differs: fresh keys beside the binomial tail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mergebarrier.errors import UsageError
from mergebarrier.keys import Key
from mergebarrier.lazy import np, torch
from mergebarrier.numerics import stated
from mergebarrier.watermark.sampling import SamplingKey

_FEWEST: Final = 100


@dataclass(frozen=True, kw_only=True)
class RadioactivityTest:
    """What a suspect's answers say.

    Attributes:
      ngrams:     distinct ones that were judged.
      score:      T.
      null_mean:  of the T_b; the binomial's rate where there are no fresh keys.
      effect:     (T - mean T_b) / sd T_b; None without fresh keys.
      p_binomial: as above, no smaller than a tail may be stated;  p_decoys: None without fresh keys.
      p:          the larger.
      empty_frac: share of answers without a token.
    """

    ngrams: int
    score: float
    null_mean: float
    effect: float | None
    p_binomial: float
    p_decoys: float | None
    p: float
    empty_frac: float


def radioactivity_test(
    said: Sequence[Sequence[int]],
    served: Sequence[Sequence[int]],
    key: SamplingKey,
    *,
    vocabulary: int,
    processor: Callable[[SamplingKey], Any],
    decoys: int,
    judged: Callable[[], None] = lambda: None,
) -> RadioactivityTest:
    """Test tokens of a suspect's answers.

    Args:
      said:       token ids of each answer of the suspect, by the service's tokenizer.
      served:     those of the service's own answers.
      key:        of the service.
      vocabulary: rows of the embedding of the service's model.
      processor:  gives that of transformers for a key.
      decoys:     fresh keys.
      judged:     called after each key.
    Raises: UsageError where too few n-grams are left to judge.
    """
    from scipy.stats import binom

    begins = {row[:-1] for row in _windows(served, key.ngram)}
    ngrams = key.judged(_distinct(said, key.ngram, begins), vocabulary)
    if len(ngrams) < _FEWEST:
        what = f"{len(ngrams)} n-grams of the suspect begin as the service's do, {_FEWEST} are needed"
        raise UsageError(what, where="--suspect", remedy="ask more queries, or let answers be longer")
    trials = len(ngrams) * key.trials
    hits = key.hits(ngrams, vocabulary, processor(key))
    judged()
    found = []
    for number in range(decoys):
        fresh = hashlib.sha256(key.key.subkey(b"sampling", f"mergebarrier/watermark/v1/decoy/{number}")).digest()
        other = SamplingKey(key=Key(fresh), scheme=key.scheme)
        found.append(other.hits(ngrams, vocabulary, processor(other)))
        judged()
    rate = key.rate(vocabulary)
    spread = float(np.std(found)) if decoys > 1 else 0.0
    p_binomial = stated(float(binom.sf(hits - 1, trials, rate)))
    p_decoys = (1 + sum(count >= hits for count in found)) / (decoys + 1) if decoys else None
    return RadioactivityTest(
        ngrams=len(ngrams),
        score=hits / trials,
        null_mean=float(np.mean(found)) / trials if decoys else rate,
        effect=(hits - float(np.mean(found))) / spread if spread else None,
        p_binomial=p_binomial,
        p_decoys=p_decoys,
        p=max(p_binomial, p_decoys or 0.0),
        empty_frac=sum(not ids for ids in said) / max(1, len(said)),
    )


def _windows(texts: Sequence[Sequence[int]], width: int) -> set[tuple[int, ...]]:
    return {tuple(ids[at : at + width]) for ids in texts for at in range(len(ids) - width + 1)}


def _distinct(texts: Sequence[Sequence[int]], width: int, begins: set[tuple[int, ...]]) -> torch.Tensor:
    """Return the distinct n-grams whose first tokens stand in ``begins``, int64 [n, width], sorted."""
    kept = sorted(window for window in _windows(texts, width) if window[:-1] in begins)
    return torch.tensor(kept, dtype=torch.int64).reshape(-1, width)
