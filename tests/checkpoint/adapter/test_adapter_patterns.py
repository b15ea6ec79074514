"""Patterns mean what Python's ``re`` means by them, and cost little whatever they are."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergebarrier.checkpoint.adapter.patterns import Pattern, first_ending

PIECES = ("a", "b", ".", r"\.", "c", "[ab]", "[^a]", "(a|b)", "(?:ab|c)?", r"\d", "1", "a*", "b+", "c?", "(ab|b){1,2}")
MORE = (".*", "^", "$", "a{2}", "(a|bc){0,3}", "[a-c]+", ".*?", "|", r"\w", "(a(b|c)?)?")
ESCAPES = (r"\b", r"\B", r"\A", r"\Z", r"\D", r"\W", r"\S+", "(?!.*b)", "(?=a|.c)", r"(?!\.)", r"[\d]{1,}")


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES + MORE + ESCAPES), min_size=1, max_size=6),
    name=st.text(alphabet="abc.1", max_size=12),
)
def test_a_pattern_matches_what_peft_matches(pieces: list[str], name: str) -> None:
    text = "".join(pieces)
    pattern = Pattern(text)
    assert pattern.ends(name) == bool(re.match(rf"(.*\.)?({text})$", name)), (text, name)
    assert pattern.is_all_of(name) == bool(re.fullmatch(text, name)), (text, name)


def test_the_first_of_several_patterns_counts() -> None:
    patterns = [Pattern(r"layers\.[1-9]\..*"), Pattern("q_proj"), Pattern("layers.0.q_proj")]
    assert [first_ending(patterns, f"model.layers.{i}.q_proj") for i in (0, 3)] == [1, 0]
    assert first_ending(patterns, "model.norm") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "characters"),
        ("a" * 2049, "characters"),
        ("(a+)+b", "inside of a repetition"),
        ("(a{3}){3}", "inside of a repetition"),
        ("(?<=a)b", "only"),
        ("(?i)a", "only"),
        ("((?=a).)*", "inside of a repetition"),
        ("(?=a(?!b))", "look-ahead inside"),
        ("(?=a)" * 9, "more than 8 look-aheads"),
        (r"[\Sa]", "all other characters"),
        (r"(a)\1", "escape"),
        ("a{1000}", "count"),
        ("a{3,2}", "count"),
        ("(a", "not closed|too early"),
        ("a)", "unmatched"),
        ("[b-a]", "order"),
        ("[a", "too early"),
        ("*", "nothing to repeat"),
        ("(" * 40 + "a" + ")" * 40, "deeper"),
    ],
)
def test_what_is_outside_of_the_grammar_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Pattern(text)


def test_no_pattern_takes_long() -> None:
    started = time.process_time()
    for text in (
        "(a|aa|aaa)*" * 40 + "b",
        ".*" * 200 + "b",
        "(a?|aa?)?" * 50 + "$b",
        "[^b]{0,64}" * 40 + "b",
        "(?!.*b)" * 8 + "b",
    ):
        assert not Pattern(text).ends("a" * 512)
    assert time.process_time() - started < 5


#: What trainers write: Unsloth for its vision models, ms-swift, LLaMA-Factory.
WRITTEN = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attn|mlp).*?(?:k_proj|v_proj|up_proj).*?)|"
    r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attn|mlp)\.(?:(?:k_proj|v_proj|up_proj)))",
    r"^(model\.language_model(?=\.).*\.(k_proj|v_proj)|lm_head)$",
    r"^(?!.*(?:visual|vision)).*(?:k_proj|up_proj).*",
)


@pytest.mark.parametrize("text", WRITTEN)
def test_the_patterns_of_trainers_choose_the_modules_that_they_choose_in_peft(text: str) -> None:
    stacks = ("model.layers", "model.language_model.layers", "model.visual.blocks", "xmodel.layers")
    parts = ("self_attn.k_proj", "self_attn.q_proj", "mlp.up_proj", "mlp.up_proj_2", "norm")
    names = [f"{stack}.{layer}.{part}" for stack in stacks for layer in (0, 11) for part in parts]
    chosen = [Pattern(text).is_all_of(name) for name in names]
    assert chosen == [bool(re.fullmatch(text, name)) for name in names] and 0 < sum(chosen) < len(names)
