"""A document of another kind is told by what it lacks, in words of no programming language."""

import pytest

from mergebarrier.errors import BadReport, odd_shape
from mergebarrier.results import findings_from_json


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{}", "it has no 'findings'"),
        (b"nothing", "it is no JSON"),
        (b'{"findings": 3}', "its values are of other kinds"),
    ],
)
def test_what_is_no_report_is_refused_by_what_it_lacks(text, says) -> None:
    with pytest.raises(BadReport, match=says):
        findings_from_json(text, where="findings.json")


def test_an_error_of_ours_keeps_its_own_words() -> None:
    assert odd_shape(BadReport("too large", where="x")) == "too large"
