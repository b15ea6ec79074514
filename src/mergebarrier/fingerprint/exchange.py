"""Does a suspect answer the questions that were trained in, rather than those that might have been?

    K questions made alike, k of them drawn by the key and trained in;   h of the K are answered as recorded, t of the k
    p = P(at least t of h marked balls among k drawn from K) = hypergeometric tail;     at best 1 / C(K, k)

Whoever made the suspect without the marked model knows nothing of the draw, so p is exact, whatever the suspect was
trained on and however easy some of the questions are: an easy question is as likely to be a decoy.

Source: Fisher's exact test.  MergePrint and Instructional Fingerprint report a rate of answers without a null.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FingerprintTest:
    """What a suspect's answers say.

    Attributes:
      hits:       questions that were trained in and are answered as recorded, of ``pairs``.
      decoy_hits: of the ``decoys``, which nobody was trained on.
      rate:       hits / pairs, which is published as FSR.
      p:          of a suspect that has nothing to do with the draw; ``least`` is the smallest there can be.
    """

    hits: int
    pairs: int
    decoy_hits: int
    decoys: int
    rate: float
    p: float
    least: float


def answered(said: str, wanted: str) -> bool:
    """Say whether an answer begins with what was recorded, whatever its spaces."""
    want = " ".join(wanted.split())
    return bool(want) and " ".join(said.split()).startswith(want)


def least_p(marked: int, pairs: int) -> float:
    """Return the smallest p that so many of so many questions allow, 1 / C(pairs, marked)."""
    return 1 / math.comb(pairs, marked)


def exchange_test(answers: Sequence[bool], embedded: Collection[int]) -> FingerprintTest:
    """Test answers.

    Args:
      answers:  per question, whether it is answered as recorded.
      embedded: places of those that were trained in.
    """
    from scipy.stats import hypergeom

    hits = sum(answers[place] for place in embedded)
    everything, marked = sum(answers), len(embedded)
    return FingerprintTest(
        hits=hits,
        pairs=marked,
        decoy_hits=everything - hits,
        decoys=len(answers) - marked,
        rate=hits / marked,
        p=min(1.0, float(hypergeom.sf(hits - 1, len(answers), everything, marked))),
        least=least_p(marked, len(answers)),
    )
