"""A report folder keeps every finished row, through a crash, and belongs to one audit."""

import json

import pytest

from made_up import cell
from mergebarrier.errors import BadReport, OutputExists
from mergebarrier.report import Journal, read_report, write_report

ROW = cell("protected", "ties", {"coefficient": 0.5}, 1, 2)
OTHER = cell("protected", "slerp", {"coefficient": 0.5}, 3, 4)


def test_a_finished_row_is_on_the_disk_at_once_and_found_after_a_restart(tmp_path) -> None:
    journal = Journal.open(tmp_path / "r")
    journal.add(ROW)
    assert (tmp_path / "r" / "rows.jsonl").read_bytes().endswith(b"\n")
    again = Journal.open(tmp_path / "r", resume=True)
    assert again.find(ROW.row_id) == ROW and again.find("unknown") is None
    again.add(OTHER)
    assert len((tmp_path / "r" / "rows.jsonl").read_bytes().splitlines()) == 2


def test_a_line_that_a_crash_cut_off_is_dropped_and_overwritten(tmp_path) -> None:
    journal = Journal.open(tmp_path)
    journal.add(ROW)
    journal.add(OTHER)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = Journal.open(tmp_path, resume=True)
    assert again.find(ROW.row_id) == ROW and again.find(OTHER.row_id) is None
    again.add(OTHER)
    assert [json.loads(line)["merge"] for line in path.read_text().splitlines()] == ["ties", "slerp"]


def test_a_damaged_line_is_refused_with_its_number(tmp_path) -> None:
    Journal.open(tmp_path).add(ROW)
    path = tmp_path / "rows.jsonl"
    path.write_text(path.read_text() + "{}\n" + path.read_text())
    with pytest.raises(BadReport, match=r"rows\.jsonl line 2"):
        Journal.open(tmp_path, resume=True)


def test_only_rows_that_this_audit_used_enter_its_report(tmp_path, result) -> None:
    journal = Journal.open(tmp_path)
    journal.add(ROW)
    journal.add(OTHER)
    again = Journal.open(tmp_path, resume=True)
    again.find(OTHER.row_id)
    assert again.used == [OTHER]
    write_report(tmp_path, result, again.used)
    assert read_report(tmp_path) == (result, [OTHER])


def test_a_report_is_not_written_over_another_unasked(tmp_path, result) -> None:
    Journal.open(tmp_path).add(ROW)
    with pytest.raises(OutputExists, match="not empty"):
        Journal.open(tmp_path)
    fresh = Journal.open(tmp_path, overwrite=True)
    assert fresh.find(ROW.row_id) is None


def test_a_folder_of_something_else_is_never_touched(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputExists, match="not part of a report"):
            Journal.open(tmp_path, **options)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(OutputExists):
        Journal.open(tmp_path / "thesis.tex", overwrite=True)


def test_all_four_files_are_there_and_nothing_else(tmp_path, result, rows) -> None:
    write_report(tmp_path, result, rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "card.md",
        "findings.sarif",
        "report.html",
        "result.json",
        "rows.jsonl",
    ]
    assert read_report(tmp_path) == (result, rows)


@pytest.mark.parametrize("missing", ["result.json", "rows.jsonl"])
def test_a_report_with_a_file_missing_is_refused(tmp_path, result, rows, missing: str) -> None:
    write_report(tmp_path, result, rows)
    (tmp_path / missing).unlink()
    with pytest.raises(BadReport, match=missing):
        read_report(tmp_path)
