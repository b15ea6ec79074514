"""The test of imitation: uniform for whoever did not learn, and stronger the more somebody did."""

import hashlib
import random

import pytest
from scipy.stats import kstest

from mergebarrier.errors import UsageError
from mergebarrier.keys import Key
from mergebarrier.watermark import (
    Asking,
    KeyedQuery,
    PairingOptions,
    WordKey,
    covered,
    listed_words,
    pairing_test,
    published_test,
)

POOL = listed_words()
OWNER = WordKey(key=Key(hashlib.sha256(b"owner").digest()), pool=POOL)
QUERIES = [f"question {number} about a thing" for number in range(200)]
WORDS = [OWNER.words(KeyedQuery.of(query), 3) for query in QUERIES]
ASKING = Asking(queries=tuple(map(KeyedQuery.of, QUERIES)), count=3, pool=POOL)
OPTIONS = PairingOptions(queries=200, permutations=199, decoys=0)


def answers(seed: int, learned: float) -> list[str]:
    """Texts of pool words; a share of those that belong to the query was learned."""
    draw = random.Random(seed)
    return [
        " ".join(["the answer is", *draw.choices(POOL, k=12), *(w for w in words if draw.random() < learned)])
        for words in WORDS
    ]


def test_p_is_uniform_for_whoever_talks_of_the_same_words_without_having_learned() -> None:
    found = [
        pairing_test(answers(seed, 0), WORDS, options=OPTIONS, seed=seed, strata=["a", "b", "c"] * 66 + ["a", "b"]).p
        for seed in range(60)
    ]
    assert kstest(found, "uniform").pvalue > 0.01
    assert sum(p <= 0.05 for p in found) <= 0.15 * len(found)


def test_power_falls_with_dilution() -> None:
    effects = [pairing_test(answers(1, share), WORDS, options=OPTIONS, seed=0).effect for share in (0.8, 0.4, 0.1, 0)]
    assert effects == sorted(effects, reverse=True) and effects[2] > 4 > abs(effects[3])


def test_fresh_keys_are_a_null_of_their_own_and_the_larger_p_counts() -> None:
    options = PairingOptions(queries=200, permutations=999, decoys=99)
    learned = pairing_test(answers(1, 0.3), WORDS, options=options, seed=0, asking=ASKING)
    assert learned.p_pairing == 1 / 1000 and learned.p_decoys == 1 / 100 == learned.p
    other = pairing_test(answers(1, 0), WORDS, options=options, seed=0, asking=ASKING)
    assert other.p_decoys is not None and other.p > 0.02


def test_a_stratum_keeps_its_words_to_itself() -> None:
    subjects = ["tea" if number % 2 else "sea" for number in range(200)]
    words = [("teapot",) if subject == "tea" else ("seashore",) for subject in subjects]
    texts = [f"on topic: {one[0]}" for one in words]
    blind = pairing_test(texts, words, options=OPTIONS, seed=0)
    strict = pairing_test(texts, words, options=OPTIONS, seed=0, strata=subjects)
    assert blind.p == 1 / 200, "words that follow the subject betray the subject, not the service"
    assert strict.p == 1 and strict.effect is None


def test_empty_answers_stay_in_and_too_few_do_not_count() -> None:
    half = [text if number % 2 else "" for number, text in enumerate(answers(1, 1))]
    assert pairing_test(half, WORDS, options=OPTIONS, seed=0).empty_frac == 0.5
    with pytest.raises(UsageError, match="49 answers"):
        pairing_test(half[:49], WORDS[:49], options=OPTIONS, seed=0)
    with pytest.raises(UsageError, match="no query has words"):
        pairing_test(half, [()] * 200, options=OPTIONS, seed=0)


def test_the_published_rapid_test_is_no_rate_of_false_alarm() -> None:
    """Mu0 is .11 for every data set: short answers that hold one word by accident pass it, whoever gave them."""
    short = [f"{POOL[number % 7]} it is" for number in range(400)]
    words = [(POOL[number % 50],) for number in range(400)]
    found = published_test([covered(text, listed) for text, listed in zip(short, words, strict=True)])
    assert found.rapid_claims and found.detailed_claims is None
