"""Audits side by side: the order, what cannot be compared, and no name out of its place in any form."""

import csv
import dataclasses
import html.parser
import io

import pytest

import mergebarrier as mb
from made_up import made_up_result, made_up_rows
from mergebarrier.api import compare_reports
from mergebarrier.errors import BadReport
from mergebarrier.report import write_report

HOSTILE = '=cmd|"<script>alert(1)</script>\x1b[31m\u202e](javascript:x)'


def named(name: str, **changes):
    result = made_up_result(**changes)
    models = {**result.models, "protected": dataclasses.replace(result.models["protected"], name=name)}
    return dataclasses.replace(result, models=models)


@pytest.fixture
def folders(tmp_path):
    """Two audits of one bench, and one with other test rows whose checks fail."""
    weak = named("weak")
    strong = named("strong", levels=weak.levels[:1], ruf_max=0.05, grade="B", grade_level=None, grade_final=False)
    failed = {name: dataclasses.replace(check, passed=False) for name, check in weak.controls.items()}
    tasks = {role: dataclasses.replace(task, test_items=7) for role, task in weak.tasks.items()}
    odd = dataclasses.replace(named(HOSTILE), tasks=tasks, controls=failed)
    for name, result in (("weak", weak), ("strong", strong), ("odd", odd)):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, result, made_up_rows())
    return tmp_path


def test_the_most_resistant_stands_first_with_every_level(folders, run_cli) -> None:
    table = compare_reports([folders / "weak", folders / "strong"])
    assert [line[0] for line in table.lines] == ["strong", "weak"] and not table.differ
    rows = table.rows()
    assert rows[0]["RUF, level 2"] == "not run" and rows[1]["RUF, level 2"].startswith("1.00 [")
    assert rows[0]["grade"] == "B at least" and rows[1]["grade"] == "C"
    ran = run_cli("report", "compare", folders / "weak", folders / "strong", "--json")
    assert ran.exit_code == 0 and ran.json["lines"] == [list(line) for line in table.lines]
    assert list(table.to_pandas().columns) == list(table.heads)


def test_of_what_falls_alike_the_one_that_leaves_less_stands_first_and_none_is_named(tmp_path) -> None:
    first = named("first", ruf_max=1.0)
    bare = dataclasses.replace(first.models["original"], name="bare")
    every = tuple(dataclasses.replace(level, ruf=1.0) for level in first.levels)
    bare = dataclasses.replace(first, models={**first.models, "protected": bare}, levels=every)
    for name, result in (("a", bare), ("b", first)):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, result, made_up_rows())
    rows = compare_reports([tmp_path / "a", tmp_path / "b"]).rows()
    assert [row["protected model"] for row in rows] == ["first", "bare"] and rows[1]["protection"] == "none"


def test_what_differs_is_said_above_the_table_in_every_form(folders, run_cli) -> None:
    words = ("report", "compare", folders / "weak", folders / "odd", "--format")
    for form in ("text", "html", "md", "csv"):
        said = " ".join(run_cli(*words, form).stdout.split())
        assert "These audits differ in test rows: their rows cannot be compared" in said, form
        assert said.index("These audits") < said.index("weak"), form
    assert "differ" not in run_cli("report", "compare", folders / "weak").stdout


def test_no_name_leaves_its_place(folders, run_cli) -> None:
    words = ("report", "compare", folders / "odd", "--format")
    shown = {form: run_cli(*words, form).stdout for form in ("html", "md", "csv", "text")}
    tags = []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(shown["html"])
    assert list(tags).count("script") == 1 and "a" not in tags
    assert "](" not in shown["md"].replace("\\](", "") and "<script>" not in shown["md"]
    _, _, line = csv.reader(io.StringIO(shown["csv"]))  # a comment, the heads, the audit
    assert line[0].startswith("'=") and line[-1] != "none"
    assert not any("\x1b" in text or "\u202e" in text for text in shown.values())


def test_audits_whose_checks_fail_stand_last_and_a_level_that_was_not_run_is_no_merit(tmp_path, run_cli) -> None:
    hold = {name: dataclasses.replace(check, passed=True) for name, check in made_up_result().controls.items()}
    fail = hold | {"identity": dataclasses.replace(next(iter(hold.values())), passed=False)}
    whole = named("whole", controls=hold)
    gap = named("a gap", controls=hold, levels=(whole.levels[0], whole.levels[2]))
    best = named("best", controls=fail, grade="A", grade_level=None)
    folders = [tmp_path / name for name in ("gap", "best", "whole")]
    for folder, result in zip(folders, (gap, best, whole), strict=True):
        folder.mkdir()
        write_report(folder, result, made_up_rows())
    table = compare_reports([*folders, folders[1]])
    assert [line[0] for line in table.lines] == ["whole", "a gap", "best"], "one that is given twice stands once"
    for form in ("text", "html", "md", "csv"):
        said = " ".join(run_cli("report", "compare", *folders, "--format", form).stdout.split())
        assert "In 1 of 3 audits checks of the measurement fail (last column)" in said, form
    assert "checks of the" not in run_cli("report", "compare", folders[0], folders[2]).stdout


def test_a_damaged_audit_is_named_among_many_and_none_at_all_is_asked_for(folders, run_cli) -> None:
    damaged = folders / "odd" / "result.json"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    ran = run_cli("report", "compare", folders / "weak", folders / "odd")
    assert ran.exit_code == 2 and str(damaged) in ran.stderr and len(ran.stderr.splitlines()) == 1
    ran = run_cli("report", "compare")
    assert ran.exit_code == 64 and "no report is given" in ran.stderr


def test_what_is_no_audit_is_one_line(folders, run_cli, tmp_path) -> None:
    ran = run_cli("report", "compare", folders / "weak", tmp_path / "none")
    assert ran.exit_code == 2 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1
    with pytest.raises(BadReport):
        compare_reports([tmp_path])
    one = run_cli("report", folders / "weak", "--format", "md")
    assert one.exit_code == 0 and one.stdout.rstrip("\n") == mb.report(folders / "weak").render("md").rstrip("\n")
    for words in ((folders / "weak", "--format", "csv"), ("compare", folders / "weak", "--format", "sarif")):
        assert run_cli("report", *words).exit_code == 64
    assert run_cli("report", folders / "weak", folders / "odd").exit_code == 64
