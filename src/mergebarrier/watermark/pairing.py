"""Did a model learn from a watermarked service?  Its answers cover the words of their own queries better than chance.

    T   = mean_i score(text_i; W_i)                     n queries put to the suspect
    T_b = mean_i score(text_i; W_pi_b(i))               b = 1..B: words of other queries of the same stratum
    D_b = mean_i score(text_i; W^b_i)                   b = 1..B': words that a fresh key draws
    p   = (1 + #{b : T_b >= T}) / (B + 1),              the larger of the two

The first null is exact where queries and words are paired at random, the second wherever the key was drawn before
anybody answered.  A query's own words never stand in it, words of others may: that can only make p larger.

Source: ours, for the rapid test of ModelShield (arXiv 2405.02365), whose t-test of the top 1 % has no null
(``published``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from mergebarrier.errors import UsageError
from mergebarrier.keys import Key
from mergebarrier.lazy import np
from mergebarrier.numerics import draws
from mergebarrier.watermark.keyed_words import KeyedQuery, WordKey
from mergebarrier.watermark.options import PairingOptions
from mergebarrier.watermark.score import covered, found_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEWEST_QUERIES: Final = 50
_BATCH: Final = 256
_ROUNDING: Final = 1e-12
_Scores: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What words are drawn for.

    Attributes:
      queries: in the order of the answers.
      count:   words each.
      pool:    that keys draw from.
    """

    queries: tuple[KeyedQuery, ...]
    count: int
    pool: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PairingTest:
    """What a suspect's answers say.

    Attributes:
      score:        T.
      null_mean:    of the T_b.
      effect:       (T - mean T_b) / sd T_b; None where no pairing differs from another.
      p_pairing:    of the permutations.
      p_decoys:     of the fresh keys; None where there are none.
      p:            the larger.
      hit_frac:     share of answers that hold a word of theirs.
      empty_frac:   share of answers without a word.
    """

    score: float
    null_mean: float
    effect: float | None
    p_pairing: float
    p_decoys: float | None
    p: float
    hit_frac: float
    empty_frac: float


def pairing_test(
    answers: Sequence[str],
    words: Sequence[Sequence[str]],
    *,
    options: PairingOptions,
    seed: int,
    strata: Sequence[str] = (),
    asking: Asking | None = None,
) -> PairingTest:
    """Test whether answers cover the words of their own queries.

    Args:
      answers: of the suspect, one per query.
      words:   of the queries, in the same order.
      options: how much is drawn.
      seed:    of permutations and decoys.
      strata:  subject of each query; words are exchanged within a subject only.
      asking:  what a fresh key draws words for; without it there are no decoys.
    Raises: UsageError for too few queries or pairings, or where no query has words.
    """
    n = len(answers)
    if n < _FEWEST_QUERIES:
        raise UsageError(f"{n} answers, a test needs {_FEWEST_QUERIES}", where="watermark", remedy="ask more queries")
    if not any(words):
        raise UsageError("no query has words", where="watermark", remedy="give the ledger that `shield` wrote")
    # With subjects of few queries there are hardly any other pairings, and p would be large whatever was answered.
    pairings = sum(math.lgamma(count + 1) for count in Counter(strata or [""] * n).values())
    if pairings < math.log(options.permutations):
        ways = f"words can be exchanged in {math.exp(pairings):.0f} ways within their strata"
        what = f"{ways}, and {options.permutations} are drawn"
        raise UsageError(what, where="watermark", remedy="ask more queries of each stratum, or give no strata")
    found = [found_words(text) for text in answers]
    table = _table(answers, words, found)
    own = table.diagonal()
    score = float(own.mean())
    drawn = _permuted(table, strata or [""] * n, options.permutations, seed)
    sd = float(drawn.std())
    p_pairing = _p(score, drawn)
    p_decoys = None
    if asking is not None and options.decoys:
        p_decoys = _p(score, _decoys(answers, found, asking, options.decoys, seed))
    return PairingTest(
        score=score,
        null_mean=float(drawn.mean()),
        effect=(score - float(drawn.mean())) / sd if sd else None,
        p_pairing=p_pairing,
        p_decoys=p_decoys,
        p=max(p_pairing, p_decoys or 0.0),
        hit_frac=float((own > 0).mean()),
        empty_frac=sum(not words_of for words_of in found) / n,
    )


def _table(answers: Sequence[str], words: Sequence[Sequence[str]], found: Sequence[frozenset[str]]) -> _Scores:
    """Return the score of every answer with the words of every query."""
    asked: dict[str, list[int]] = {}
    for index, listed in enumerate(words):
        for word in dict.fromkeys(listed):
            asked.setdefault(word, []).append(index)
    table = np.zeros((len(answers), len(words)))
    for row, text in enumerate(answers):
        for word in sorted(found[row] & asked.keys()):
            table[row, asked[word]] += len(word) / len(text)
    return table


def _permuted(table: _Scores, strata: Sequence[str], count: int, seed: int) -> _Scores:
    """Return ``count`` means under pairings within the strata."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(strata):
        groups.setdefault(name, []).append(index)
    answers, means = np.arange(len(table)), []
    for first in range(0, count, _BATCH):
        partners = np.empty((min(_BATCH, count - first), len(table)), dtype=np.intp)
        for name, group in groups.items():
            drawn = draws.words(("watermark", seed, f"pairing|{first}|{name}"), len(partners) * len(group))
            partners[:, group] = np.array(group)[np.argsort(drawn.reshape(len(partners), -1), axis=1)]
        means.append(table[answers, partners].mean(1))
    return np.concatenate(means)


def _decoys(answers: Sequence[str], found: Sequence[frozenset[str]], real: Asking, decoys: int, seed: int) -> _Scores:
    """Return the means under the words of keys that nobody used."""
    means = np.empty(decoys)
    for index in range(decoys):
        secret = draws.words(("watermark", seed, f"decoy|{index}"), 4).tobytes()
        key = WordKey(key=Key(secret), pool=real.pool)
        scores = [
            covered(text, key.words(query, real.count), present)
            for text, query, present in zip(answers, real.queries, found, strict=True)
        ]
        means[index] = math.fsum(scores) / len(scores)
    return means


def _p(score: float, drawn: _Scores) -> float:
    # A sum in another order must not count as a larger score.
    return float(1 + np.count_nonzero(drawn >= score - _ROUNDING)) / (len(drawn) + 1)
