"""Results are read back exactly as they were written, and nothing else is read."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up import made_up_result, made_up_rows
from mergebarrier.errors import BadReport
from mergebarrier.report import read_report
from mergebarrier.results import Cell, Measurement
from mergebarrier.results.audit import Skill
from mergebarrier.results.read import result_from_json, row_from_json, to_json

CELL = Cell(
    row_id="ab",
    level=0,
    attack="none",
    state="protected",
    split="test",
    merge="ties",
    coefficients={"coefficient": 0.5},
    parameters={"weights": [1.0, 1.0], "density": 0.2},
    skill_protected=Skill(correct=3, total=10, rate=0.3, low=0.1, high=0.6),
    skill_partner=Skill(correct=0, total=10, rate=0.0, low=0.0, high=0.28),
    nll_nats=None,
    tokens=120,
    merge_seconds=0.5,
    seconds=1.5,
    version="0.1.0",
)
MEASUREMENT = Measurement(
    row_id="cd",
    about="perplexity",
    figures={"perplexity": 31.2, "tokens": 4096, "nats": None},
    seconds=2.0,
    version="0.1.0",
)

GOLDEN = Path(__file__).parents[1] / "golden" / "report_v1"

numbers = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("row", [CELL, MEASUREMENT], ids=["cell", "measurement"])
def test_a_row_survives_the_round_trip(row) -> None:
    line = to_json(row)
    assert line.count("\n") == 1 and row_from_json(line.encode(), where="rows") == row


@given(st.dictionaries(st.text(), st.none() | numbers | st.integers(-(2**53), 2**53)), numbers, st.text())
def test_any_figures_survive_the_round_trip(figures, seconds, about) -> None:
    row = Measurement(row_id="x", about=about, figures=figures, seconds=seconds, version="0")
    assert row_from_json(to_json(row).encode(), where="rows") == row


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"surplus": 1}, "surplus"),
        ({"seconds": None}, "seconds"),
        ({"seconds": "1.5"}, "seconds"),
        ({"state": 7}, "state"),
        ({"entry_type": "summary"}, "entry_type"),
        ({"skill_protected": {"correct": 1}}, "skill_protected"),
        ({"tokens": 1.5}, "tokens"),
    ],
)
def test_a_row_of_another_shape_is_refused_by_the_name_of_the_key(change, names: str) -> None:
    line = json.dumps(dataclasses.asdict(CELL) | change).encode()
    with pytest.raises(BadReport, match="rows line 3") as refused:
        row_from_json(line, where="rows line 3")
    assert names in str(refused.value) or names == "entry_type"
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b"\xff\n", b'{"entry_type": "cell"}'])
def test_what_is_no_row_is_refused(line: bytes) -> None:
    with pytest.raises(BadReport):
        row_from_json(line, where="rows")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_neither_written_nor_read(number: str) -> None:
    with pytest.raises(BadReport):
        to_json(dataclasses.replace(CELL, seconds=float(number.replace("Infinity", "inf"))))
    with pytest.raises(BadReport):
        row_from_json(to_json(CELL).replace("1.5,", f"{number},").encode(), where="rows")


def test_a_report_of_schema_1_is_still_read() -> None:
    """Both files were written by the code of schema 1 and are never written again."""
    assert json.loads((GOLDEN / "result.json").read_bytes())["schema_version"] == 1
    assert read_report(GOLDEN) == (made_up_result(), made_up_rows())


def _first(**changes: object) -> bytes:
    return json.dumps(json.loads((GOLDEN / "result.json").read_bytes()) | changes).encode()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"levels": 3}, "levels"),
        ({"levels": [7]}, "levels.0"),
        ({"levels": []}, "levels"),
        ({"extras": [{"name": None}]}, "extras.0"),
        ({"environment": 1}, "environment"),
        ({"method": ["exact"]}, "method"),
        ({"surplus": 1}, "surplus"),
        ({"schema_version": 3}, "schema_version"),
    ],
)
def test_a_damaged_report_of_schema_1_is_refused_by_the_name_of_the_key(changes, names: str) -> None:
    with pytest.raises(BadReport, match="old") as refused:
        result_from_json(_first(**changes), where="old")
    assert names in str(refused.value)


@pytest.mark.parametrize("name", ["levels", "tasks", "models"])
def test_a_result_that_holds_nothing_to_report_is_refused(name: str) -> None:
    empty = {} if name != "levels" else ()
    with pytest.raises(BadReport, match=name):
        result_from_json(to_json(made_up_result(**{name: empty})).encode(), where="r")


def test_a_state_that_this_version_does_not_know_is_read() -> None:
    row = dataclasses.replace(CELL, state="of-a-later-version")
    assert row_from_json(to_json(row).encode(), where="rows") == row
