"""A level that somebody adds, in a module of its own and one line of the registry, is everywhere under its own name."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mergebarrier.audit.bench.grading import grade
from mergebarrier.audit.ladder import LEVELS, Level
from mergebarrier.errors import InternalError

TOY = '''
"""Level 4 of a test: the attacker is handed the original, and merges that."""

from mergebarrier.audit.ladder import Level, at_most
from mergebarrier.results import State


def prepare(bench):
    bench.admit("toy-state", bench.spec.original)
    return 0.5


TOY = Level(
    number=4,
    name="toy-level",
    attack="toy-attack",
    word="toy-word",
    needs="a friend inside",
    state="toy-state",
    states={"toy-state": State(title="Toy-title", note="handed over")},
    prepare=prepare,
    preserves_function=True,
    searches=True,
    cost=lambda bench: 7,
    checks={"toy_check": lambda found: at_most(found.level.ruf, 2.0, "A toy says so.")},
)
'''
NAMES = ("toy-level", "toy-attack", "a friend inside")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Level:
    (tmp_path / "a_toy_level.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    level: Level = importlib.import_module("a_toy_level").TOY
    monkeypatch.delitem(sys.modules, "a_toy_level")
    monkeypatch.setitem(LEVELS, 4, level)
    return level


def words(stage: Any, report: Path, *more: str) -> list[object]:
    world = stage.world
    return [
        "audit", stage.exact, "--original", world.original, "--base", world.base, "--partner", world.partner,
        "--task", world.task, "--partner-task", world.partner_task, "--validation", world.validation,
        "--partner-validation", world.partner_validation, "--merges", "task_arithmetic", "--coefficients", "0.5,1",
        "--budget", "1", "--smooth", "2", "--edits", "0", "--learn", "1", "--text", world.text, "-o", report, *more,
    ]  # fmt: skip


def plain(text: str) -> str:
    return " ".join(text.replace("\\", "").split())


def test_a_toy_level_is_in_the_help_and_in_the_plan_and_gone_with_its_line(toy, stage, tmp_path, run_cli) -> None:
    shown = plain(run_cli("audit", "--help").stdout)
    assert "4 toy-level toy-attack; needs a friend inside" in shown
    planned = run_cli(*words(stage, tmp_path / "r"), "--dry-run", "--json").json
    assert planned["levels"] == [0, 1, 2, 3, 4] and planned["cells on test rows"] == 4 * 2
    assert planned["cells on validation rows"] == 4 and planned["points of barrier curves"] == 4 * 11
    del LEVELS[4]
    assert "toy" not in run_cli("audit", "--help").stdout
    refused = run_cli(*words(stage, tmp_path / "r"), "--levels", "0-4")
    assert refused.exit_code == 64 and "there is no level 4" in refused.stderr


def test_a_toy_level_is_run_and_shown_under_its_own_name_in_every_format(toy, stage, tmp_path, run_cli) -> None:
    report = tmp_path / "report"
    ran = run_cli(*words(stage, report), "--json")
    assert ran.exit_code == 0, ran.stderr
    result = json.loads((report / "result.json").read_text())
    level = result["levels"][4]
    assert (level["name"], level["attack"], level["state"]) == ("toy-level", "toy-attack", "toy-state")
    assert level["ruf"] == 1.0 and level["recovered"]["alone"]["skill"] > 0.9 and level["flops"] >= 7
    assert result["states"]["toy-state"]["title"] == "Toy-title" and result["controls"]["toy_check"]["passed"]
    assert (result["grade"], result["grade_level"]) == ("C", 2), "a level below it broke the protection"
    assert len(result["barrier"]["further"]["toy-state"]["curve"]) == 11
    rows = [json.loads(line) for line in (report / "rows.jsonl").read_text().splitlines()]
    mine = [row for row in rows if row.get("state") == "toy-state"]
    assert {(row["level"], row["attack"]) for row in mine} == {(4, "toy-word")}
    assert {row["split"] for row in mine} == {"test", "validation"}

    page, card = (report / "report.html").read_text(), plain((report / "card.md").read_text())
    terminal = plain(run_cli("report", report).stdout)
    sarif = json.loads((report / "findings.sarif").read_text())["runs"][0]["results"]
    for name in (*NAMES, "Toy-title", "toy check"):
        assert name in page, name
    for name in (*NAMES[:2], "Toy-title", "toy check"):
        assert name in card and name in terminal, name
    found = next(one for one in sarif if one["properties"].get("state") == "toy-state")
    assert "toy-attack" in found["message"]["text"] and found["properties"]["name"] == "toy-level"
    assert "Anyone with a friend inside can undo this (measured: 100 % recovered, RUF 1.00)." in card


def test_a_toy_level_is_graded_by_its_number() -> None:
    assert grade({0: 0.0, 1: 0.0, 2: 0.2, 3: 1.0}).grade == "C"
    assert (grade({0: 0.0, 1: 0.0, 2: 0.2, 3: 0.2}).grade, grade({0: 0.0, 1: 0.0, 2: 0.2, 3: 0.2}).final) == (
        "B",
        False,
    )
    above = grade({level: 0.0 for level in range(6)} | {6: 1.0, 9: 1.0})
    assert (above.grade, above.level, above.final) == ("A", None, True), "no letter belongs to a level above 5"


def test_a_check_stands_once_on_the_whole_ladder() -> None:
    names = [name for level in LEVELS.values() for name in level.checks]
    assert len(set(names)) == len(names)
    assert {level.number for level in LEVELS.values()} == set(LEVELS)


def test_a_state_that_no_level_declares_is_refused(stage, tmp_path) -> None:
    from contextlib import ExitStack

    from audit_stage import Memory, spec
    from mergebarrier.audit.bench import Bench, published

    with ExitStack() as stack:
        bench = Bench(spec(stage, tmp_path / "w"), Memory(), lambda _: None, stack, states=("protected",))
        with pytest.raises(InternalError, match="no level declares the state 'locked'"):
            bench.cell("locked", published()[0], "test", level=0, attack="none")


def test_the_terminal_of_a_report_with_a_toy_level_fits_a_page(toy) -> None:
    from made_up import cell, made_up_result, made_up_rows
    from mergebarrier.report import render_terminal

    rows = [*made_up_rows(), cell("toy-state", "ties", {"coefficient": 1.0}, 90, 90)]
    console = Console(width=80, record=True, file=open("/dev/null", "w"), force_terminal=True)
    with console.file:
        console.print(render_terminal(made_up_result(), rows))
    assert max(len(line) for line in console.export_text().splitlines()) <= 80
