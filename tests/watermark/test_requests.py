"""What the model is asked, and what is made of its reply."""

import pytest

from mergebarrier.errors import UsageError
from mergebarrier.watermark import ShieldOptions, keyed_request, own_words, published_request


def test_words_and_query_are_put_where_the_template_says_and_braces_stay() -> None:
    options = ShieldOptions(template="[WM] {words} | {query}")
    assert (
        keyed_request("what is {words}?", ("teapot", "seashore"), options) == "[WM] teapot, seashore | what is {words}?"
    )
    assert published_request("why {query}?", ShieldOptions(mode="published")).endswith("\n\nwhy {query}?")


@pytest.mark.parametrize("template", ["{query}", "{words}", "{query} {query} {words}", "none"])
def test_a_template_without_its_places_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="stands in it"):
        ShieldOptions(template=template)


def test_words_that_the_model_chose_are_filtered() -> None:
    reply = 'Sure! {"Answer": "A teapot on the shore.", "Watermark Words": ["Teapot", "shore", "the", 7, "teapot"]}'
    answer, words, parsed = own_words(reply, "what is on the shore?", reference={"the": 5, "teapot": 4})
    assert (answer, words, parsed) == ("A teapot on the shore.", ("teapot",), True)


@pytest.mark.parametrize("reply", ["", "plain", '{"Answer": 1, "Watermark Words": []}', '{"Answer": "a"}', "{" * 9999])
def test_another_reply_is_kept_whole_and_has_no_words(reply: str) -> None:
    assert own_words(reply, "q") == (reply, (), False)
