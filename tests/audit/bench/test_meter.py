"""What an audit says that it will take, what it leaves out when a budget ends, and that the report says why."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from audit_stage import SHORT, Memory, spec
from mergebarrier.audit import AuditOptions, AuditSpec, run_audit
from mergebarrier.audit.bench import Bench, Work
from mergebarrier.audit.bench.meter import FIRST_MINUTE, Meter
from mergebarrier.audit.ladder import LAST, LEVELS, checked, forecast, states
from mergebarrier.errors import UsageError
from mergebarrier.results import Cell, Skill

SMALL: dict[str, Any] = {"settings": SHORT, "points": 3, "search_budget": 2, "smooth_evaluations": 4, "aga_settings": 0}
NOTHING = Skill(correct=0, total=1, rate=0.0, low=0.0, high=1.0)


def cell(number: int, seconds: float) -> Cell:
    return Cell(
        row_id=str(number), level=0, attack="none", state="protected", split="test", merge=f"m{number}",
        coefficients={}, parameters={}, skill_protected=NOTHING, skill_partner=NOTHING, nll_nats=1.0, tokens=100,
        merge_seconds=seconds / 2, seconds=seconds, version="0",
    )  # fmt: skip


def test_after_the_first_minute_it_says_how_long_it_will_take(tmp_path: Path) -> None:
    """Twenty equal merges of ten seconds: 200 s in all, and one that was measured before counts as done."""
    meter = Meter(spec=_nowhere(tmp_path))
    meter.forecasts = {"a": Work(evaluations=10, merges=10, read=1000), "b": Work(evaluations=10, merges=10, read=1000)}
    meter.begin("a")
    said = []
    for number in range(10):
        meter.note(cell(number, 10.0 + 1e-6 * number), fresh=True)
        meter.note(cell(number, 10.0 + 1e-6 * number), fresh=False)
        said.append(meter.told())
    assert [at for at, text in enumerate(said) if text] == [5] and FIRST_MINUTE == 60.0
    assert said[5] == "about 200 s in all, 140 s of them to come"
    assert (meter.evaluations, meter.tokens) == (10, 1000)
    meter.note(cell(99, 600.0), fresh=True)  # the machine stood still: one merge in eleven
    meter.begin("b")
    assert meter.left == pytest.approx(100.0, rel=1e-3)


def _nowhere(tmp_path: Path) -> Any:
    here = tmp_path / "nowhere"
    return AuditSpec(
        protected=here, original=here, base=here, partner=here, task=here, partner_task=here, work=here,
        budget_tokens=1500, budget_evaluations=100,
    )  # fmt: skip


def test_what_does_not_fit_a_budget_is_left_out_and_named(tmp_path: Path) -> None:
    meter = Meter(spec=_nowhere(tmp_path))
    meter.note(cell(0, 1.0), fresh=True)
    assert meter.afford("a", Work(read=1400))
    assert not meter.afford("b", Work(read=1000, learned=401)) and not meter.afford("c", Work(evaluations=100))
    assert meter.left_out == [
        "b was left out: it would take about 1,401 tokens where 100 of the 1,500 of --budget-tokens are spent.",
        "c was left out: it would take about 100 merges where 1 of the 100 of --budget-evaluations are spent.",
    ]


def test_an_audit_leaves_out_levels_and_a_resumed_one_the_same(stage, tmp_path: Path) -> None:
    journal, seen = Memory(), list[Mapping[str, object]]()
    asked = spec(stage, tmp_path / "w", **SMALL, budget_evaluations=26)
    made = run_audit(asked, journal, watch=seen.append)
    assert [level.level for level in made.levels] == [0, 1] and not made.grade_final
    why = [note for note in made.notes if "left out" in note]
    assert any(note.startswith("Level 2 (realign) was left out") and "above" in note for note in why)
    assert all("of the 26 of --budget-evaluations" in note for note in why)
    assert [one["kind"] for one in seen[-1:]] == ["progress"] and seen[-1]["part"] == LAST
    assert json.loads(json.dumps(seen[-1]))["left_seconds"] >= 0 and seen[-1]["left_out"] == why
    again = run_audit(asked, Memory(journal.rows))
    assert again.notes == made.notes and again.levels == made.levels


def test_the_forecast_counts_what_is_done(stage, tmp_path: Path) -> None:
    """Merges that are scored, and tokens: near the forecast, though some are found and not measured."""
    journal = Memory()
    run_audit(spec(stage, tmp_path / "w", **SMALL), journal)
    meter = Meter(spec=spec(stage, tmp_path / "w"))
    for row in journal.used:
        meter.note(row, fresh=True)
    parts = _forecast(stage, tmp_path)
    total = sum((work for part, work in parts.items() if part not in ("single models", LAST)), Work())
    assert meter.evaluations <= total.evaluations <= 2 * meter.evaluations
    assert meter.tokens <= total.tokens <= 2 * meter.tokens


def _forecast(stage, tmp_path: Path) -> dict[str, Work]:
    asked = spec(stage, tmp_path / "w", **SMALL, levels=checked(()))
    with ExitStack() as stack:
        bench = Bench(asked, Memory(), lambda line: None, stack, states=states())
        return forecast(bench, [LEVELS[number] for number in asked.levels])


def test_workers_side_by_side_have_no_budget() -> None:
    with pytest.raises(UsageError, match="--engine process"):
        AuditOptions(engine="process", budget_seconds=5.0)
