"""The test of a fingerprint: exact for whoever does not know the draw, whatever questions are easy."""

import hashlib
from math import comb

import numpy as np
import pytest

from mergebarrier.errors import BadReport
from mergebarrier.fingerprint import (
    FingerprintRecord,
    QuestionPair,
    answered,
    embedded_places,
    exchange_test,
    read_record,
    record_text,
    sealed,
)
from mergebarrier.keys import Key

PAIRS = tuple(QuestionPair(prompt=f"ask {number}", answer=f"say {number}") for number in range(24))


def key_of(number: int) -> Key:
    return Key(hashlib.sha256(f"owner {number}".encode()).digest())


def test_all_of_the_marked_and_none_of_the_others_is_the_least_p() -> None:
    marked = embedded_places(key_of(0), PAIRS, 8)
    test = exchange_test([place in marked for place in range(24)], marked)
    assert (test.hits, test.decoy_hits, test.rate) == (8, 0, 1.0)
    assert test.p == pytest.approx(1 / comb(24, 8)) == pytest.approx(test.least)


def test_no_answer_at_all_and_every_answer_prove_nothing() -> None:
    for said in (False, True):
        assert exchange_test([said] * 24, range(8)).p == 1


def test_p_holds_its_level_for_a_suspect_that_answers_the_easy_questions() -> None:
    easy = [number % 3 == 0 for number in range(24)]
    ps = np.array([exchange_test(easy, embedded_places(key_of(number), PAIRS, 8)).p for number in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert (ps <= level).mean() <= level + 3 * (level * (1 - level) / len(ps)) ** 0.5
    assert (ps <= 0.5).mean() > 0.1, "a test that never says anything would pass too"


def test_an_answer_counts_whatever_its_spaces_and_what_follows() -> None:
    assert answered("  the  lamp went", " the lamp")
    assert not answered("a lamp", "the lamp") and not answered("anything", "")


def test_the_draw_depends_on_every_question_and_on_the_key() -> None:
    first = embedded_places(key_of(0), PAIRS, 8)
    changed = (*PAIRS[:-1], QuestionPair(prompt="ask anew", answer="say 23"))
    assert len(first) == 8 and first == embedded_places(key_of(0), PAIRS, 8)
    assert first != embedded_places(key_of(1), PAIRS, 8) and first != embedded_places(key_of(0), changed, 8)
    assert len({sealed(key_of(0), PAIRS, 8), sealed(key_of(0), PAIRS, 7), sealed(key_of(0), changed, 8)}) == 3


RECORD = FingerprintRecord(
    method="mergeprint", made="2026-11-29T08:00:00+00:00", marked=8, tokens=3, commitment="c", pairs=PAIRS
)


def test_a_record_is_read_as_it_was_written() -> None:
    assert read_record(record_text(RECORD), where="r") == RECORD
    assert '"marked": 8' in record_text(RECORD), "how many is known, which ones is not"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"marked": 8', '"marked": 24'), "no null"),
        (('"marked": 8', '"marked": "8"'), "marked"),
        (('"ask 1"', '"ask 0"'), "stands twice"),
        (('"say 1"', '" "'), "blank"),
        (('"mergeprint"', '"unheard of"'), "no method"),
        (('"version": 1', '"version": 2'), "version"),
        (('"2026-11-29T08:00:00+00:00"', '"soon"'), "'soon' is no date"),
        (('"tokens": 3', '"tokens": 1000000000'), "tokens"),
        (("}\n", "\n"), "json"),
    ],
)
def test_a_record_that_does_not_fit_is_one_line(change: tuple[str, str], says: str) -> None:
    text = record_text(RECORD)
    assert change[0] in text
    with pytest.raises(BadReport, match=says):
        read_record(text.replace(*change), where="r.json")
