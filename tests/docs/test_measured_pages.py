"""Tables on the pages are taken from files of results, and no row of such a file is torn."""

import json
import sys

import pytest

from how_to import ROOT

sys.path.insert(0, str(ROOT / "docs"))

from _generate_measured import of_results, render, tables

RESULTS = ("protections", "vision_protections")
_FILE = """\
| name | a | b |
|---|---|---|
| one | 1.5 | x |
| two | 2.5 |  |

| name | a |
|---|---|
| two | 7 |
"""


def test_a_figure_that_moved_makes_a_page_stale() -> None:
    text = (ROOT / "docs" / "widen.md").read_text(encoding="utf-8")
    assert render(text.replace("0.97 / 0.93", "0.99 / 0.93")) == text != text.replace("24.98", "24.99")
    mark = "<!-- measured: table evidence | 1 | columns: verb; shape -->"
    assert "| relate | 135M |" in render(f"{mark}\n<!-- end of what is measured -->"), "a place that is new is filled"


@pytest.mark.parametrize(
    ("asked", "table"),
    [
        (["1"], "| name | a | b |\n|---|---|---|\n| one | 1.5 | x |\n| two | 2.5 |  |"),
        (["1", "columns: b; a = size", "rows: two"], "| b | size |\n|---|---|\n|  | 2.5 |"),
        (
            ["1", "columns: name; a", "rows: two = last; one & x"],
            "| name | a |\n|---|---|\n| last | 2.5 |\n| one | 1.5 |",
        ),
        (["1 2", "columns: name; a; 2: a"], "| name | a | a |\n|---|---|---|\n| one | 1.5 |  |\n| two | 2.5 | 7 |"),
    ],
)
def test_columns_and_rows_are_taken_as_they_are_asked_for(asked, table, tmp_path, monkeypatch) -> None:
    (tmp_path / "file.md").write_text(_FILE, encoding="utf-8")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert of_results("file", *asked) == table


@pytest.mark.parametrize("asked", ["columns: name; c", "rows: three", "rows: one & 2.5"])
def test_what_is_not_in_the_results_is_refused(asked, tmp_path, monkeypatch) -> None:
    (tmp_path / "file.md").write_text(_FILE, encoding="utf-8")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match=r"results/file\.md, table 1: no (column|row)"):
        of_results("file", "1", asked)


@pytest.mark.parametrize("name", RESULTS)
def test_a_cell_of_a_bench_has_a_hundred_rows_and_stands_there_once(name: str) -> None:
    lines = (ROOT / "benchmarks" / "results" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({json.dumps(row["key"]) for row in rows}) == len(rows)
    assert all(row["figures"].get("n", 100) >= 100 for row in rows)
