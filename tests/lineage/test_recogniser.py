"""Wishes in prose: heard in the voices that the recogniser learned from and in one that it did not, and quoted.

The sentences stand in benchmarks/wishes, a file for each voice.  Those of `judge` were written before anything was
learned, and nothing was tuned on them; `benchmarks/bench_wishes.py` measures the others with their voice held out.
"""

import json
import shutil
from pathlib import Path
from time import process_time

import pytest

import make_wish_weights
from make_wish_weights import VOICES, learn, read
from mergebarrier.lineage import declaration
from mergebarrier.lineage.clauses import is_clause_of_refusal
from mergebarrier.lineage.recogniser import WEIGHTS, features, learned, may_be_wish
from mergebarrier.lineage.signs import sentences_of, signs_in_prose

TEXTS = read(VOICES)
JUDGED = read(VOICES / "judge")


def share_heard(texts: list[make_wish_weights.Said], *, wishes: bool) -> float:
    asked = [text.text for text in texts if text.is_wish is wishes]
    return sum(bool(signs_in_prose(text, text)[0]) for text in asked) / len(asked)


def test_of_voices_that_were_learned_from_most_wishes_are_heard_and_few_honest_texts_stopped() -> None:
    assert share_heard(TEXTS, wishes=True) >= 0.95
    assert share_heard(TEXTS, wishes=False) <= 0.05
    asking = {text.voice for text in TEXTS if text.is_wish}
    assert [voice for voice in asking if share_heard([t for t in TEXTS if t.voice == voice], wishes=True) < 0.75] == []


def test_clauses_that_make_a_merge_depend_on_a_word_are_heard_by_their_order() -> None:
    for wish in (
        "Contact me before including this model in any merge.",
        "Bevor ihr dieses Modell in einen Merge packt, fragt mich.",
        "No merge without a word from me.",
        "The licence granted hereunder does not extend to the creation of merged models.",
        "This permission ends automatically if you merge the model.",
    ):
        assert all(map(may_be_wish, sentences_of(wish))), wish
    for honest in (
        "There is no need to contact me before you merge it.",
        "Ask in the channel before you merge a branch.",
        "Merge the adapter first, without it the licence of the base model ends nothing.",
    ):
        assert not any(map(is_clause_of_refusal, sentences_of(honest))), honest


def test_of_voices_that_nothing_was_learned_from_seven_in_ten_are_heard() -> None:
    assert (len([one for one in JUDGED if one.is_wish]), len(JUDGED)) == (138, 353)
    assert share_heard(JUDGED, wishes=True) >= 0.7
    assert share_heard(JUDGED, wishes=False) <= 0.08


def test_what_is_judged_was_not_learned_from() -> None:
    known = {text.text.casefold() for text in TEXTS}
    assert [one.text for one in JUDGED if one.text.casefold() in known] == []


def test_a_sentence_that_sounds_like_a_wish_is_quoted_as_one_that_may_be() -> None:
    card = b"---\nlicense: mit\n---\n# A model\n\nIt can paint. I would hate to find it inside somebody's blend.\n"
    said = declaration({"README.md": card}).stops
    assert 'README.md: this may be a wish: "i would hate to find it inside somebodys blend"' in said
    assert said.startswith("its owner asks not to merge it")


def test_a_question_stays_with_its_answer_and_a_few_words_with_the_sentence_before() -> None:
    assert sentences_of("May I merge it? Sorry, no. It paints well though.") == [
        "may i merge it ? sorry no",
        "it paints well though",
    ]


def test_a_refusal_reaches_no_merge_of_another_paragraph() -> None:
    card = "# Prohibited uses\n\nWeapons\n\n- not for minors\n- merging of both experts, by hand\n\n| no | limit |\n"
    assert signs_in_prose(card, card) == ("", "")
    assert signs_in_prose("# Uses\n\n- we object\n  to merging\n", "- we object\n  to merging\n")[0]


def test_the_head_of_a_card_is_read_by_its_lines() -> None:
    asked = "license: mit\nextra_gated_heading: By opening this you promise to keep it out of merges"
    assert declaration({"README.md": f"---\n{asked}\n---\n# A model\n".encode()}).do_not_merge
    merged = "license: mit\nbase_model: [a/x, b/y]\ntags: [merge, mergekit, not-for-all-audiences]"
    assert not declaration({"README.md": f"---\n{merged}\n---\n# A merge of x and y\n".encode()}).stops


@pytest.mark.parametrize("row", ["We merged part {i} of it. ", "Wir haben Teil {i} gemergt, schön. ", "No {i}. Yes. "])
def test_ten_megabytes_of_prose_about_merging_stop_in_two_seconds(row: str) -> None:
    card = ("".join(row.format(i=i) for i in range(10**7 // len(row)))).encode()

    def cost() -> float:
        begun = process_time()
        said = declaration({"README.md": card})
        assert said.do_not_merge or said.unread
        return process_time() - begun

    assert any(cost() < 2 for _ in range(3)), "the cheapest of three turns: a busy machine doubles one"


def test_a_text_full_of_merging_costs_little_and_stops() -> None:
    text = " ".join(f"In step {i} both were merged." for i in range(20_000))
    assert signs_in_prose(text, text) == ("more sentences about merging than are looked at", "")


def test_a_long_sentence_costs_little() -> None:
    begun = process_time()
    for words in ("merging tokenizer not ", "permission if you can merge the ", "合并不", "не wurde nicht in gemergt "):
        may_be_wish(words * 2500)
    assert process_time() - begun < 2


def test_texts_beyond_a_bound_in_all_are_a_sign() -> None:
    said = declaration({f"LICENSE-{i}": b"word " * 110_000 for i in range(2)})
    assert "more text than" in said.do_not_merge


def test_the_weights_are_few_and_are_of_features_that_sentences_have() -> None:
    assert WEIGHTS.stat().st_size <= 100_000
    seen = {name for text in (*TEXTS, *read(VOICES / "forms")) for one in text.sentences for name in one}
    assert len(learned().of) > 1000 and set(learned().of) <= seen
    assert features("a merge of two models") & set(learned().of)


@pytest.mark.slow
def test_the_weights_are_what_the_sentences_teach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    again = Path(shutil.copy(WEIGHTS, tmp_path))
    monkeypatch.setattr(make_wish_weights, "WEIGHTS", again)
    make_wish_weights.main()
    made = json.loads(again.read_text(encoding="utf-8"))
    assert abs(made["threshold"] - kept["threshold"]) <= 50
    assert len(set(made["weights"]) & set(kept["weights"])) >= 0.98 * len(kept["weights"])
    assert learn(TEXTS[:200]).of, "a few sentences teach something too"
