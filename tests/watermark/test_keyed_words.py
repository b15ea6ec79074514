"""Words that a key draws belong to the query, not to its spelling, and to nobody without the key."""

import hashlib
from collections import Counter
from functools import cache

from mergebarrier.keys import Key
from mergebarrier.watermark import KeyedQuery, WordKey, commitment, covered, found_words, listed_words

POOL = listed_words()


@cache
def key(number: int) -> WordKey:
    return WordKey(key=Key(hashlib.sha256(bytes([number])).digest()), pool=POOL)


def test_the_pool_is_large_and_holds_plain_words_once() -> None:
    assert len(POOL) >= 1000 and len(set(POOL)) == len(POOL)
    assert all(word.isascii() and word.islower() and 6 <= len(word) <= 10 for word in POOL)
    assert all(found_words(word) == {word} for word in POOL)


def test_the_same_query_has_the_same_words_however_it_is_spaced() -> None:
    assert key(1).words(KeyedQuery.of("Where is  Ａ\n cafe\u0301?"), 3) == key(1).words(
        KeyedQuery.of("where is a café?"), 3
    )
    assert key(1).words(KeyedQuery.of("where is it"), 3) != key(2).words(KeyedQuery.of("where is it"), 3)
    assert key(1).words(KeyedQuery.of("where is it"), 3) != key(1).words(KeyedQuery.of("where is he"), 3)


def test_words_of_the_query_are_never_drawn() -> None:
    drawn = key(1).words(KeyedQuery.of("tell me"), 16)
    again = key(1).words(KeyedQuery.of(f"tell me {' '.join(drawn)}"), 16)
    assert len(drawn) == len(set(drawn)) == 16 and not set(again) & set(drawn)


def test_all_words_are_drawn_alike() -> None:
    counts = Counter(word for number in range(4000) for word in key(3).words(KeyedQuery.of(f"query {number}"), 3))
    expected = 12_000 / len(POOL)
    chi2 = sum((counts[word] - expected) ** 2 / expected for word in POOL)
    assert abs(chi2 - len(POOL)) < 5 * (2 * len(POOL)) ** 0.5


def test_the_commitment_binds_key_and_pool() -> None:
    first = commitment(bytes(32), POOL)
    assert first != commitment(bytes(31) + b"\x01", POOL) and first != commitment(bytes(32), POOL[1:])


def test_a_word_counts_once_whole_and_in_any_case() -> None:
    assert covered("The Art of part", ["art"]) == 3 / 15
    assert covered("art, art; ART", ["art"]) == 3 / 13
    assert covered("start party", ["art"]) == 0 and covered("", ["art"]) == 0
    assert covered("naïve café-owner", ["naïve", "café-owner"]) == 15 / 16
